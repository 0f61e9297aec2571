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
