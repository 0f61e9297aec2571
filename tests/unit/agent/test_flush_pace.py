import pytest

from backend.agent.flush_pace import LONGEST_SECONDS, FlushPace

CALM, LATE = 0.0, 1.0


def paced(usual_seconds: float, *lags: float) -> float:
    pace = FlushPace(usual_seconds)
    for lag in lags:
        pace.loop_was_late(lag)
    return pace.seconds


def test_a_calm_loop_pauses_as_usual() -> None:
    assert paced(0.025, *[CALM] * 20) == 0.025


def test_the_pause_grows_with_the_lag_up_to_a_limit() -> None:
    pauses = [paced(0.025, *[lag] * 20) for lag in (0.001, 0.005, 0.02, LATE)]

    assert pauses == sorted(set(pauses))
    assert pauses[-1] == LONGEST_SECONDS


def test_one_slow_callback_is_no_load() -> None:
    assert paced(0.025, 0.01, *[CALM] * 3) == pytest.approx(0.025, rel=0.15)


def test_the_pause_shrinks_again() -> None:
    assert paced(0.025, *[LATE] * 20, *[CALM] * 80) == pytest.approx(0.025, rel=0.01)


@pytest.mark.parametrize("usual_seconds", [0.0, 0.5])
def test_no_pause_stays_none_and_a_long_one_is_not_cut(usual_seconds: float) -> None:
    assert paced(usual_seconds, *[LATE] * 20) == usual_seconds
