"""The organisation's rates."""

import pytest

from backend.completion import Allowance
from backend.resilience.budget import Budget
from tests.fakes import Clock


def tokens(remaining: int, reset_seconds: float) -> Allowance:
    return Allowance(kind="tokens", remaining=remaining, reset_seconds=reset_seconds)


def requests(remaining: int, reset_seconds: float) -> Allowance:
    return Allowance(kind="requests", remaining=remaining, reset_seconds=reset_seconds)


def test_while_something_is_left_nobody_waits() -> None:
    budget = Budget(Clock())

    budget.note(tokens(1, 60))

    assert budget.wait_seconds == 0
    assert budget.remaining == {"tokens": 1}


def test_what_is_used_up_is_waited_for_until_its_reset() -> None:
    clock = Clock()
    budget = Budget(clock)
    budget.note(tokens(0, 7.5))
    assert budget.wait_seconds == pytest.approx(7.5)

    clock.sleep(5)
    assert budget.wait_seconds == pytest.approx(2.5)
    clock.sleep(5)

    assert budget.wait_seconds == 0


def test_the_dimension_that_is_back_last_decides() -> None:
    budget = Budget(Clock())

    budget.note(tokens(0, 7))
    budget.note(requests(0, 600))

    assert budget.wait_seconds == pytest.approx(600)


def test_an_answer_that_has_something_left_ends_the_wait() -> None:
    budget = Budget(Clock())
    budget.note(tokens(0, 60))

    budget.note(tokens(5000, 1))

    assert budget.wait_seconds == 0


@pytest.mark.parametrize(("remaining", "is_low"), [(0, True), (499, True), (500, False)])
def test_less_than_half_of_a_rate_is_low_until_it_is_whole(remaining: int, is_low: bool) -> None:
    clock = Clock()
    budget = Budget(clock)

    budget.note(Allowance(kind="tokens", remaining=remaining, reset_seconds=40, limit=1000))
    budget.note(Allowance(kind="requests", remaining=900, reset_seconds=999, limit=1000))
    was_low = budget.is_low
    clock.sleep(40)

    assert was_low == is_low
    assert not budget.is_low


def test_a_rate_of_unknown_size_is_not_low_before_it_is_used_up() -> None:
    budget = Budget(Clock())

    budget.note(tokens(1, 60))

    assert not budget.is_low


def test_an_answer_that_has_plenty_left_ends_the_low() -> None:
    budget = Budget(Clock())
    budget.note(Allowance(kind="tokens", remaining=10, reset_seconds=50, limit=1000))

    budget.note(Allowance(kind="tokens", remaining=900, reset_seconds=6, limit=1000))

    assert not budget.is_low
