"""systemd accepts the unit, and finds it well protected."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.processes import ROOT

UNIT = ROOT / "deploy/systemd/lex.service"
EXPOSED_AT_MOST = 20
"""In tenths, of 100: `systemd-analyze security` calls that "OK"."""


def analyze(*arguments: str) -> str:
    program = shutil.which("systemd-analyze")
    assert program, "systemd-analyze is missing: make system-deps"
    ran = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def test_systemd_finds_nothing(tmp_path: Path) -> None:
    """With a program that is there; systemd checks that."""
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/lex/.venv/bin/python", sys.executable))

    assert analyze("verify", "--man=no", str(unit)) == ""


def test_the_unit_may_do_nothing_it_need_not() -> None:
    analyze("security", "--offline=true", f"--threshold={EXPOSED_AT_MOST}", str(UNIT))
