"""Fetches the npm packages that the chat page and its tests use, pinned by hash.

`python -m infrastructure.npm FOLDER` downloads the packages that `packages.json` lists for the
folder, compares each with its hash, and unpacks the listed files, or all files. For files that are
kept in the repository it writes `kept.json` with their hashes, so that a test notices a change.
"""

import argparse
import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import NotRequired, TypedDict

ROOT = Path(__file__).parent.parent
NPM = Path(sys.executable).parent / "npm"

KEPT = "kept.json"


class Package(TypedDict):
    version: str
    license: str
    integrity: str
    files: NotRequired[dict[str, str]]
    """Maps paths in the package to file names in the folder."""


class Kept(TypedDict):
    version: str
    license: str
    integrity: str
    """Hash of the packed package."""
    sha256: dict[str, str]
    """Hash of each file."""


def listed() -> dict[str, dict[str, Package]]:
    packages: dict[str, dict[str, Package]] = json.loads(
        Path(__file__).with_name("packages.json").read_text()
    )
    return packages


def main() -> None:
    parser = argparse.ArgumentParser(prog="npm", description=__doc__)
    parser.add_argument("folder", choices=listed())
    folder = parser.parse_args().folder
    target = ROOT / folder
    target.mkdir(parents=True, exist_ok=True)
    for name, package in listed()[folder].items():
        shutil.rmtree(target / name, ignore_errors=True)
        _fetch(name, package, target / name)
        print(f"{name} {package['version']}")
    if any("files" in package for package in listed()[folder].values()):
        (target / KEPT).write_text(json.dumps(kept(folder), indent=2) + "\n")


def kept(folder: str) -> dict[str, Kept]:
    """The content of `kept.json` for the files in the folder."""
    return {
        name: Kept(
            version=package["version"],
            license=package["license"],
            integrity=package["integrity"],
            sha256={path.name: _sha256(path) for path in sorted((ROOT / folder / name).iterdir())},
        )
        for name, package in listed()[folder].items()
    }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _fetch(name: str, package: Package, folder: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        command = [str(NPM), "pack", "--silent", f"{name}@{package['version']}"]
        # npm needs node, which may be installed only beside it.
        path = os.pathsep.join([str(NPM.parent), os.environ.get("PATH", "")])
        subprocess.run(
            command, cwd=scratch, env={**os.environ, "PATH": path}, check=True,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        (packed,) = Path(scratch).glob("*.tgz")
        digest = base64.b64encode(hashlib.sha512(packed.read_bytes()).digest()).decode()
        if package["integrity"] != f"sha512-{digest}":
            sys.exit(
                f"{name} {package['version']} has the hash sha512-{digest}, and packages.json "
                "has another."
            )
        with tarfile.open(packed) as archive:
            archive.extractall(scratch, filter="data")
        folder.parent.mkdir(parents=True, exist_ok=True)  # for a name with a scope
        _keep(Path(scratch) / "package", package, folder)


def _keep(unpacked: Path, package: Package, folder: Path) -> None:
    if "files" not in package:
        shutil.move(unpacked, folder)
        return
    folder.mkdir()
    for source, name in package["files"].items():
        shutil.copyfile(unpacked / source, folder / name)


if __name__ == "__main__":
    main()
