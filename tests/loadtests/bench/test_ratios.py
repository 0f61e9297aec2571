"""Ratios are computed window by window, and verdicts are based on them."""

import pytest

from loadtests.bench.ratios import Row, rows, spread
from loadtests.bench.windows import Windows
from tests.loadtests.bench.results import WINDOWS, changed


def row(measure: str, windows: Windows = WINDOWS) -> Row:
    return next(one for one in rows(windows) if one.line.measure == measure)


def test_a_ratio_is_taken_within_each_window() -> None:
    assert row("turn").ratios == [1.0, 0.8, 0.75]
    assert row("token").ratios == [1.2, 1.4, 3.0]


def test_a_tool_round_is_divided_by_a_turn_of_the_obvious_service() -> None:
    assert row("tool round").ratios == [0.25, 0.2, 0.5]


def test_a_slow_machine_changes_no_ratio() -> None:
    slow = {
        measure: {side: [7 * value for value in values] for side, values in sides.items()}
        for measure, sides in WINDOWS.items()
    }

    assert [one.ratios for one in rows(slow)] == [one.ratios for one in rows(WINDOWS)]


def test_every_measure_of_every_side_has_a_row_but_a_yardstick_has_none() -> None:
    windows = {"turn": {"obvious": [1.0], "sqlite": [2.0], "postgres": [3.0]}}

    assert [(one.side, one.ratios) for one in rows(windows)] == [
        ("sqlite", [2.0]),
        ("postgres", [3.0]),
    ]


@pytest.mark.parametrize(
    ("measure", "values", "is_reached"),
    [
        ("turn", (4.0, 4.5, 4.0), True),  # 1, 0.9, 1: at most 1
        ("turn", (4.1, 9.0, 4.1), False),
        ("turn", (3.0, 50.0, 3.0), True),  # one window does not decide
        ("starts", (250.0, 120.0, 240.0), True),  # at least 1.2 times as many
        ("starts", (220.0, 110.0, 400.0), False),
        ("memory", (60.0, 60.0, 60.0), True),  # in kB, not relative to the obvious service
        ("memory", (61.0, 61.0, 61.0), False),
    ],
)
def test_the_median_reaches_its_target_or_misses_it(
    measure: str, values: tuple[float, ...], is_reached: bool
) -> None:
    measured = row(measure, changed(measure, *values))

    assert measured.is_reached is is_reached


def test_a_spread_shows_the_median_the_least_and_the_most() -> None:
    assert spread([1.0, 3.0, 2.0]) == "2.00 (1.00 … 3.00)"
    assert spread([123.4, 12.34, 1.234]) == "12.3 (1.23 … 123)"
    assert spread([1.5]) == "1.50"
