"""Replays the recorded fault drills: panels and alerts tell today what they told then."""

from pathlib import Path

import pytest

from loadtests.drill.recording import RECORDINGS, kept
from loadtests.drill.replay import replayed

PATHS = sorted(RECORDINGS.glob("*.json.gz"))


def test_there_is_a_recording_of_each_fault_and_of_none() -> None:
    assert len(PATHS) > 13
    assert any(path.name.startswith("nothing") for path in PATHS)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name.partition(".")[0])
def test_a_recorded_fault_shows_as_it_did(path: Path, tmp_path: Path) -> None:
    assert replayed(kept(path), tmp_path) == ""


def test_a_replay_notices_a_panel_that_stays_dark(tmp_path: Path) -> None:
    """The check itself can fail: here a fault is said to have shown nothing."""
    [path] = [path for path in PATHS if path.name.startswith("the-first-token-is-late-8")]

    complaints = replayed(kept(path) | {"lasting": [], "ever": []}, tmp_path)

    assert "LexFirstChunkBurn" in complaints
