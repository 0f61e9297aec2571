"""The compiled files of the image: the same source must give the same bytes, or layers differ."""

import compileall
import hashlib
import py_compile
import shutil
import tempfile
from pathlib import Path

from deploy.release import ROOT, NotReady


def check(source: Path = ROOT / "backend") -> str:
    """Compile the service twice, as the Dockerfile does.

    Raises:
        NotReady: a source does not compile, or two compilations of it differ.
    """
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / source.name
        shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
        first, second = _compiled(copy), _compiled(copy)
    different = sorted(path for path in first if second.get(path) != first[path])
    if different or first.keys() != second.keys():
        raise NotReady(f"compiled twice with two results: {', '.join(different[:5])}.")
    return f"{len(first)} files, compiled twice alike"


def _compiled(folder: Path) -> dict[str, str]:
    for old in folder.rglob("__pycache__"):
        shutil.rmtree(old)
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    if not compileall.compile_dir(folder, quiet=2, workers=0, invalidation_mode=mode):
        raise NotReady("a source does not compile.")
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*.pyc")
    }
