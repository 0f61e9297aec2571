"""The rate limits of the organisation."""

import pytest

from backend.llm.port import Allowance
from backend.llm.resilience.rate_budget import RateBudget
from tests.fakes import Clock


def tokens(remaining: int, reset_seconds: float) -> Allowance:
    return Allowance(kind="tokens", remaining=remaining, reset_seconds=reset_seconds)


def requests(remaining: int, reset_seconds: float) -> Allowance:
    return Allowance(kind="requests", remaining=remaining, reset_seconds=reset_seconds)


def test_while_something_is_left_nobody_waits() -> None:
    budget = RateBudget(Clock())

    budget.note(tokens(1, 60))

    assert budget.wait_seconds == 0
    assert not budget.is_low


def test_what_is_used_up_is_waited_for_until_its_reset() -> None:
    clock = Clock()
    budget = RateBudget(clock)
    budget.note(tokens(0, 7.5))
    assert budget.wait_seconds == pytest.approx(7.5)

    clock.sleep(5)
    assert budget.wait_seconds == pytest.approx(2.5)
    clock.sleep(5)

    assert budget.wait_seconds == 0


def test_the_dimension_that_is_back_last_decides() -> None:
    budget = RateBudget(Clock())

    budget.note(tokens(0, 7))
    budget.note(requests(0, 600))

    assert budget.wait_seconds == pytest.approx(600)


def test_an_answer_that_has_something_left_ends_the_wait() -> None:
    budget = RateBudget(Clock())
    budget.note(tokens(0, 60))

    budget.note(tokens(5000, 1))

    assert budget.wait_seconds == 0


@pytest.mark.parametrize(("remaining", "is_low"), [(0, True), (499, True), (500, False)])
def test_less_than_half_of_a_rate_is_low_until_it_is_whole(remaining: int, is_low: bool) -> None:
    clock = Clock()
    budget = RateBudget(clock)

    budget.note(Allowance(kind="tokens", remaining=remaining, reset_seconds=40, limit=1000))
    budget.note(Allowance(kind="requests", remaining=900, reset_seconds=999, limit=1000))
    was_low = budget.is_low
    clock.sleep(40)

    assert was_low == is_low
    assert not budget.is_low


def test_a_rate_of_unknown_size_is_not_low_before_it_is_used_up() -> None:
    budget = RateBudget(Clock())

    budget.note(tokens(1, 60))

    assert not budget.is_low


def test_an_answer_that_has_plenty_left_ends_the_low() -> None:
    budget = RateBudget(Clock())
    budget.note(Allowance(kind="tokens", remaining=10, reset_seconds=50, limit=1000))

    budget.note(Allowance(kind="tokens", remaining=900, reset_seconds=6, limit=1000))

    assert not budget.is_low


@pytest.mark.parametrize(
    ("allowance", "spacing_seconds"),
    [
        # 6,000 tokens a minute are 10 ms per token, and a call takes 1,500 tokens.
        (Allowance(kind="tokens", remaining=0, reset_seconds=60, limit=6000), 15.0),
        (Allowance(kind="tokens", remaining=1000, reset_seconds=50, limit=6000), 15.0),
        (Allowance(kind="tokens", remaining=2000, reset_seconds=40, limit=6000), 0.0),
        (Allowance(kind="tokens", remaining=0, reset_seconds=60), 0.0),
        (Allowance(kind="tokens", remaining=0, reset_seconds=60, limit=100), 60.0),
        (Allowance(kind="requests", remaining=0, reset_seconds=3, limit=60), 0.05),
        (Allowance(kind="requests", remaining=400, reset_seconds=50_000, limit=1000), 0.0),
        (Allowance(kind="requests", remaining=0, reset_seconds=0, limit=0), 0.0),
    ],
)
def test_a_rate_that_is_used_up_says_how_far_apart_calls_fit(
    allowance: Allowance, spacing_seconds: float
) -> None:
    budget = RateBudget(Clock())

    budget.note(allowance)

    assert budget.spacing_seconds == pytest.approx(spacing_seconds)


def test_what_calls_cost_is_learned() -> None:
    used_up = Allowance(kind="tokens", remaining=0, reset_seconds=60, limit=6000)
    budget = RateBudget(Clock())
    for _ in range(50):
        budget.spent(300)
    budget.spent(0)

    budget.note(used_up)

    assert budget.spacing_seconds == pytest.approx(3.0, rel=0.01)


def test_an_answer_that_has_enough_left_ends_the_spacing() -> None:
    budget = RateBudget(Clock())
    budget.note(Allowance(kind="tokens", remaining=0, reset_seconds=60, limit=6000))

    budget.note(Allowance(kind="tokens", remaining=4500, reset_seconds=15, limit=6000))

    assert budget.spacing_seconds == 0
