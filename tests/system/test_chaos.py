"""A minimal chaos run completes, reports everything that it saw, and finds no loss."""

import re
import subprocess
import sys

import pytest

from loadtests.chaos import service, told
from loadtests.chaos.checks import CHECKS, name_of
from loadtests.chaos.plan import CLOCK, SMOKE
from tests.processes import ROOT

ALWAYS = (
    service.sessions_stay,
    service.no_session_is_held,
    told.streams_join,
    told.replays_are_what_was_streamed,
    told.histories_are_what_was_streamed,
)
"""Checks that have many cases in every run."""


@pytest.mark.timeout(600)
def test_a_run_counts_what_it_did_and_finds_nothing_lost() -> None:
    command = ("loadtests.chaos", "--seed", "1", "--minutes", "0.1", "--clients", "20")

    run = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )

    looked_at = re.findall(r"^([a-z ]+?) +(\d+) checked", run.stdout, re.MULTILINE)
    assert [name for name, _ in looked_at] == [*map(name_of, CHECKS)], run.stdout + run.stderr
    counts = {name: int(count) for name, count in looked_at}
    assert min(counts[name_of(check)] for check in ALWAYS) > 20, run.stdout
    assert all(f"1 {kind}" in run.stdout for kind in (*SMOKE, CLOCK)), run.stdout
    assert run.returncode == 0, run.stdout
