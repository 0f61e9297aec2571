"""Lint of the Dockerfiles, and their versions. The system tests build and run the image."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import backend
from tests.processes import ROOT

LEX = ROOT / "deploy/docker/Dockerfile"
STANDIN = ROOT / "infrastructure/groq_standin/Dockerfile"
LOAD = ROOT / "loadtests/Dockerfile"
BIN = Path(sys.executable).parent


@pytest.mark.parametrize("dockerfile", [LEX, STANDIN, LOAD], ids=["lex", "stand-in", "load"])
def test_hadolint_finds_nothing(dockerfile: Path) -> None:
    found = subprocess.run(
        [BIN / "hadolint", dockerfile], capture_output=True, text=True, check=False
    )

    assert (found.returncode, found.stdout) == (0, "")


def default(dockerfile: Path, argument: str) -> str:
    found = re.search(rf"^ARG {argument}=(.*)$", dockerfile.read_text(), re.MULTILINE)
    assert found, argument
    return found[1]


def test_all_images_have_one_base_that_is_pinned_by_version() -> None:
    base = default(LEX, "BASE_IMAGE")

    assert base == default(STANDIN, "BASE_IMAGE") == default(LOAD, "BASE_IMAGE")
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+", base)


def test_the_image_has_the_version_of_the_service() -> None:
    assert default(LEX, "VERSION") == backend.__version__


def test_the_prompts_are_in_the_image() -> None:
    """All other Markdown files are excluded."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    kept = [line.removeprefix("!") for line in lines if line.startswith("!") and "*" in line]
    prompts = [path.relative_to(ROOT) for path in (ROOT / "backend").rglob("*.md")]

    assert prompts
    assert [prompt for prompt in prompts if not any(map(prompt.match, kept))] == []
