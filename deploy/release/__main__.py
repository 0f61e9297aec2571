"""Checks a release and makes its files: `python -m deploy.release --tag v1.2.3 --output dist`.

It does all that needs neither a registry nor the public host. Each check says what it has checked;
all run, even if one fails.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from deploy.release import ROOT, NotReady, bytecode, changelog, chart, sbom, versions


class Release:
    def __init__(self, *, tag: str, epoch: int, output: Path) -> None:
        self._tag = tag
        self._epoch = epoch
        self._output = output

    def checks(self) -> dict[str, Callable[[], str]]:
        return {
            "versions": lambda: versions.check(tag=self._tag),
            "work tree": self._work_tree,
            "changelog": self._changelog,
            "bill of materials": self._bill,
            "chart": self._chart,
            "bytecode": bytecode.check,
            "documents": self._documents,
        }

    def _work_tree(self) -> str:
        changed = _said("git", "status", "--porcelain")
        if changed and self._tag:
            raise NotReady(f"it has changes that the tag has not:\n{changed}")
        return "has changes" if changed else "has no changes"

    def _changelog(self) -> str:
        version = versions.version()
        said = changelog.check(version, is_tagged=bool(self._tag))
        self._write("notes.md", changelog.notes(version).encode())
        return said

    def _bill(self) -> str:
        made = sbom.bill(self._epoch)
        name = self._write(f"lex-{versions.version()}.cdx.json", made.encode())
        packages = made.count('"purl"')
        return f"{packages} packages in {name}"

    def _chart(self) -> str:
        archive = chart.packed(self._epoch)
        said = chart.check(self._epoch, archive)
        return f"{self._write(f'lex-{versions.version()}.tgz', archive)}, {said}"

    def _documents(self) -> str:
        command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
        return _said(*command, "tests/documents").splitlines()[-1]

    def _write(self, name: str, content: bytes) -> str:
        self._output.mkdir(parents=True, exist_ok=True)
        (self._output / name).write_bytes(content)
        return name


def _said(*command: str) -> str:
    ran = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    if ran.returncode != 0:
        raise NotReady(f"{' '.join(command)} failed:\n{ran.stdout}{ran.stderr}")
    return ran.stdout.strip()


def epoch() -> int:
    """The time of the release: `SOURCE_DATE_EPOCH`, or else that of the commit."""
    return int(os.environ.get("SOURCE_DATE_EPOCH") or _said("git", "log", "-1", "--format=%ct"))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.release", description=__doc__)
    parser.add_argument("--tag", default="", help="the tag of the release, such as v1.2.3")
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="where files go")
    asked = parser.parse_args()

    return run(Release(tag=asked.tag, epoch=epoch(), output=asked.output).checks())


def run(checks: Mapping[str, Callable[[], str]]) -> int:
    """Run all checks and print what each says. Returns 1 if one failed, and else 0."""
    failed = False
    for name, check in checks.items():
        try:
            print(f"ok      {name}: {check()}", flush=True)
        except NotReady as problem:
            failed = True
            print(f"FAILED  {name}: {problem}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
