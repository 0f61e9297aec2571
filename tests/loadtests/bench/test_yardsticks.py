"""A yardstick covers all Python of the obvious service and the stand-in, and nothing else."""

from collections.abc import Callable
from pathlib import Path

import pytest

from loadtests.bench.yardsticks import ROOT, fingerprint, frozen

OBVIOUS = "loadtests/bench/obvious.py"
STANDIN = "infrastructure/groq_standin"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in (OBVIOUS, f"{STANDIN}/wire.py", f"{STANDIN}/demo/mind.py", f"{STANDIN}/README.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def appended(name: str) -> Callable[[Path], object]:
    return lambda root: (root / name).write_text(name + "\n")


@pytest.mark.parametrize(
    "change",
    [
        appended(OBVIOUS),
        appended(f"{STANDIN}/wire.py"),
        appended(f"{STANDIN}/demo/mind.py"),
        lambda root: (root / STANDIN / "new.py").touch(),
        lambda root: (root / STANDIN / "wire.py").unlink(),
        lambda root: (root / STANDIN / "wire.py").rename(root / STANDIN / "line.py"),
    ],
)
def test_any_change_of_a_yardstick_shows(root: Path, change: Callable[[Path], object]) -> None:
    before = fingerprint(root)

    change(root)

    assert fingerprint(root) != before


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / STANDIN / "README.md").write_text("Explained better."),
        lambda root: (root / "loadtests/bench/client.py").touch(),
        lambda root: (root / STANDIN / "wire.pyc").touch(),
    ],
)
def test_all_else_may_change(root: Path, change: Callable[[Path], object]) -> None:
    before = fingerprint(root)

    change(root)

    assert fingerprint(root) == before


def test_the_yardsticks_of_this_project_are_found() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in frozen(ROOT)}

    assert {OBVIOUS, f"{STANDIN}/wire.py", f"{STANDIN}/demo/mind.py"} <= names
