"""Prometheus reads quantiles near the truth where objectives and most turns are."""

from collections.abc import Sequence

import pytest

from backend.telemetry.metric_definitions import FIRST_CHUNK_SECONDS, TURN_SECONDS

OBSERVATIONS = 1000


def read(quantile: float, seconds: float, edges: Sequence[float]) -> float:
    """What Prometheus' `histogram_quantile` returns if all observations have the same value."""
    rank = quantile * OBSERVATIONS
    upper = next(edge for edge in edges if seconds <= edge)
    lower = max((edge for edge in edges if edge < upper), default=0.0)
    return lower + (upper - lower) * rank / OBSERVATIONS


@pytest.mark.parametrize("quantile", [0.5, 0.95, 0.99])
@pytest.mark.parametrize("seconds", [1.05, 1.6, 1.95, 2.05, 2.2, 2.45])
def test_a_first_chunk_near_its_objective_is_read_within_a_quarter_of_a_second(
    seconds: float, quantile: float
) -> None:
    assert read(quantile, seconds, FIRST_CHUNK_SECONDS) == pytest.approx(seconds, abs=0.25)


@pytest.mark.parametrize("seconds", [1.9, 1.99, 2.01, 2.1])
def test_what_is_read_is_on_the_right_side_of_the_objective(seconds: float) -> None:
    assert (read(0.99, seconds, FIRST_CHUNK_SECONDS) > 2) is (seconds > 2)


@pytest.mark.parametrize("quantile", [0.5, 0.95, 0.99])
@pytest.mark.parametrize("seconds", [1.25, 2.05, 3.3, 4.7, 6.5, 9, 12])
def test_the_duration_of_a_turn_is_read_within_a_third(seconds: float, quantile: float) -> None:
    assert read(quantile, seconds, TURN_SECONDS) == pytest.approx(seconds, rel=1 / 3)
