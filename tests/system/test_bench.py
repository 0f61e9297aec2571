"""A minimal but complete run of the benchmark, with every store and every yardstick."""

import subprocess
import sys
from pathlib import Path

import pytest

from loadtests.bench.results import Results
from tests.processes import ROOT

MEASURES = ("turn", "tool round", "token", "first chunk", "starts", "memory")
STORES = ("sqlite", "redis", "postgres")


@pytest.mark.timeout(400)
def test_a_run_shows_its_progress_and_leaves_a_ratio_of_each_measure(tmp_path: Path) -> None:
    command = ("loadtests.bench", "--form", "smoke", "--into", str(tmp_path))

    run = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert run.stderr == ""
    assert "window 1 of 1, turns and tool rounds: obvious" in run.stdout
    assert "the client took" in run.stdout
    kept = Results.load(tmp_path)
    assert {(row.line.measure, row.side) for row in kept.rows} == {
        (measure, store) for measure in MEASURES for store in STORES
    }
    assert sum(kept.failures.values()) == 0
    assert run.returncode == (not kept.is_good)
