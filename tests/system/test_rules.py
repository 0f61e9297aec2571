"""Checks the rules with Prometheus' own tool."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.operations.rules import DEPLOY, TESTS

RULES = sorted((DEPLOY / "prometheus" / "rules").glob("*.yml"))


def promtool(*arguments: object) -> None:
    program = shutil.which("promtool")
    assert program, "promtool is missing: make system-deps"
    done = subprocess.run(
        [program, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_are_rules() -> None:
    promtool("check", "rules", *RULES)


# It evaluates days of samples every five minutes.
@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_only_then(path: Path) -> None:
    promtool("test", "rules", path)
