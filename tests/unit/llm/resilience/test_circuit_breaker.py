"""When the breaker opens, probes and closes."""

import pytest

from backend.llm.resilience.circuit_breaker import BreakerState, CircuitBreaker
from tests.fakes import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(
        failure_ratio=0.5, least_calls=4, window_seconds=30, open_seconds=10, clock=clock
    )


def calls(breaker: CircuitBreaker, verdicts: str) -> None:
    """Make one call per letter: `s` succeeds, `f` fails, `-` ends without a verdict."""
    for verdict in verdicts:
        call = breaker.begin()
        if verdict == "s":
            call.succeeded()
        if verdict == "f":
            call.failed()
        call.end()


@pytest.mark.parametrize(
    ("verdicts", "state"),
    [
        ("", BreakerState.CLOSED),
        ("fff", BreakerState.CLOSED),
        ("ffff", BreakerState.OPEN),
        ("ssff", BreakerState.OPEN),
        ("sssff", BreakerState.CLOSED),
        ("ff-----s", BreakerState.CLOSED),
    ],
)
def test_it_opens_at_a_ratio_of_failures_among_enough_calls(
    breaker: CircuitBreaker, verdicts: str, state: BreakerState
) -> None:
    calls(breaker, verdicts)

    assert breaker.state is state


def test_failures_outside_the_window_are_forgotten(breaker: CircuitBreaker, clock: Clock) -> None:
    calls(breaker, "fff")
    clock.sleep(31)

    calls(breaker, "f")

    assert breaker.state is BreakerState.CLOSED


def test_while_open_it_says_how_long_to_wait(breaker: CircuitBreaker, clock: Clock) -> None:
    assert breaker.wait_seconds == 0
    calls(breaker, "ffff")

    clock.sleep(4)

    assert breaker.wait_seconds == pytest.approx(6)


def test_half_open_it_lets_one_probe_through_at_a_time(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    calls(breaker, "ffff")
    clock.sleep(10)
    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.wait_seconds == 0

    probe = breaker.begin()

    assert breaker.wait_seconds > 0
    probe.end()
    assert breaker.wait_seconds == 0


@pytest.mark.parametrize(
    ("verdict", "state"),
    [("s", BreakerState.CLOSED), ("f", BreakerState.OPEN), ("-", BreakerState.HALF_OPEN)],
)
def test_the_probe_decides(
    breaker: CircuitBreaker, clock: Clock, verdict: str, state: BreakerState
) -> None:
    calls(breaker, "ffff")
    clock.sleep(10)

    calls(breaker, verdict)

    assert breaker.state is state


def test_after_closing_it_counts_anew(breaker: CircuitBreaker, clock: Clock) -> None:
    calls(breaker, "ffff")
    clock.sleep(10)
    calls(breaker, "s")

    calls(breaker, "fff")

    assert breaker.state is BreakerState.CLOSED


def test_calls_that_were_under_way_when_it_opened_do_not_keep_it_open(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    late = breaker.begin()
    calls(breaker, "ffff")
    clock.sleep(9)
    late.failed()

    clock.sleep(1)

    assert breaker.state is BreakerState.HALF_OPEN


def test_every_change_is_told(clock: Clock) -> None:
    told: list[BreakerState] = []
    breaker = CircuitBreaker(least_calls=2, open_seconds=10, clock=clock, on_change=told.append)

    calls(breaker, "ff")
    clock.sleep(10)
    calls(breaker, "f")
    clock.sleep(10)
    calls(breaker, "s")

    half_open, closed, opened = BreakerState.HALF_OPEN, BreakerState.CLOSED, BreakerState.OPEN
    assert told == [opened, half_open, opened, half_open, closed]
