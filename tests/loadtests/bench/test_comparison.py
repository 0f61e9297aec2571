"""A run is compared with the kept one only if both used the same yardsticks."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from loadtests.bench.comparison import compared, moved, obstacle
from loadtests.bench.results import VERSION, Results
from tests.loadtests.bench.results import WINDOWS, changed, results


def test_results_come_back_as_they_were_kept(tmp_path: Path) -> None:
    kept = results()

    kept.save(tmp_path)

    assert Results.load(tmp_path) == kept
    assert obstacle(tmp_path) is None


def test_results_by_other_yardsticks_are_not_compared(tmp_path: Path) -> None:
    replace(results(), yardsticks="0" * 64).save(tmp_path)

    assert "THE YARDSTICKS HAVE CHANGED" in str(obstacle(tmp_path))


@pytest.mark.parametrize("told", [{}, {"bench": VERSION - 1}, {"windows": WINDOWS}])
def test_results_of_another_benchmark_are_not_compared(
    tmp_path: Path, told: dict[str, object]
) -> None:
    (tmp_path / "results.json").write_text(json.dumps(told))

    assert obstacle(tmp_path)


def test_nothing_is_compared_before_results_are_kept(tmp_path: Path) -> None:
    assert obstacle(tmp_path) == "There are no kept results: make bench KEEP=1 writes them."


def test_each_ratio_stands_beside_the_kept_one(tmp_path: Path) -> None:
    results().save(tmp_path)
    now = results(changed("turn", 9.0, 10.0, 8.0))

    lines = list(compared(now, tmp_path))

    assert lines[0] == "CPU of a turn, SQLite: 2.00, kept 0.80 (0.75 … 1.00): MORE"
    assert all(line.endswith(": as before") for line in lines[1:])


def test_another_version_of_a_library_is_named(tmp_path: Path) -> None:
    replace(results(), machine={"fastapi": "0.1"}).save(tmp_path)
    now = replace(results(), machine={"fastapi": "0.2", "cpu": "quicker"})

    assert list(compared(now, tmp_path))[-1] == "fastapi was 0.1 and is 0.2."


@pytest.mark.parametrize(
    ("now", "kept", "change"),
    [
        ([2.0, 2.2], [1.0, 1.9], "MORE"),
        ([0.5, 0.9], [1.0, 1.9], "LESS"),
        ([1.8, 2.5], [1.0, 1.9], "as before"),
        ([1.1, 1.2], [1.0, 1.9], "as before"),
    ],
)
def test_spreads_that_overlap_are_not_told_apart(
    now: list[float], kept: list[float], change: str
) -> None:
    assert moved(now, kept) == change
