"""The rate limits of the organisation."""

import pytest

from backend.domain.rates import RateFigure
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
        (Allowance(kind="tokens", remaining=1000, reset_seconds=50, limit=6000), 5.0),
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

    assert budget.spacing_seconds() == pytest.approx(spacing_seconds)


def test_what_calls_cost_is_learned() -> None:
    used_up = Allowance(kind="tokens", remaining=0, reset_seconds=60, limit=6000)
    budget = RateBudget(Clock())
    for _ in range(50):
        budget.spent(300)
    budget.spent(0)

    budget.note(used_up)

    assert budget.spacing_seconds() == pytest.approx(3.0, rel=0.01)


def test_an_answer_that_has_enough_left_ends_the_spacing() -> None:
    budget = RateBudget(Clock())
    budget.note(Allowance(kind="tokens", remaining=0, reset_seconds=60, limit=6000))

    budget.note(Allowance(kind="tokens", remaining=4500, reset_seconds=15, limit=6000))

    assert budget.spacing_seconds() == 0


# 6,000 tokens a minute are 100 a second, and a call takes 1,500 tokens.
HALF = Allowance(kind="tokens", remaining=3000, reset_seconds=30, limit=6000)
USED_UP = Allowance(kind="tokens", remaining=0, reset_seconds=60, limit=6000)


def test_those_who_fit_now_need_no_gap_and_the_others_are_spread_over_the_refill() -> None:
    budget = RateBudget(Clock())
    budget.note(HALF)

    gaps = [budget.spacing_seconds(waiting) for waiting in (1, 2, 4, 300)]

    # Four turns take 6,000 tokens: the missing 3,000 take 30 seconds, for each turn a quarter.
    assert gaps == pytest.approx([0.0, 0.0, 7.5, (300 * 15) / 300 - 30 / 300])


@pytest.mark.parametrize("waiting", [3, 10, 300])
def test_no_turn_that_keeps_the_gap_finds_the_rate_used_up(waiting: int) -> None:
    clock = Clock()
    budget = RateBudget(clock)
    budget.note(HALF)
    level, seconds = 3000.0, 0.0

    for left in range(waiting, 0, -1):
        gap = budget.spacing_seconds(left)
        clock.sleep(gap)
        seconds += gap
        level += 100 * gap - 1500
        assert level >= -1
        budget.released()
        reset = (6000 - level) / 100
        budget.note(
            Allowance(kind="tokens", remaining=round(level), reset_seconds=reset, limit=6000)
        )

    assert seconds == pytest.approx((waiting * 1500 - 3000) / 100, rel=0.01)


def test_those_who_waited_for_a_reset_are_spread_too() -> None:
    clock = Clock()
    budget = RateBudget(clock)
    budget.note(USED_UP)

    clock.sleep(60)

    assert budget.wait_seconds == 0
    assert budget.spacing_seconds(300) == pytest.approx(15)


def test_each_of_several_workers_takes_its_part() -> None:
    budget = RateBudget(Clock())
    budget.note(HALF)

    assert budget.spacing_seconds(2, workers=2) == pytest.approx(15)
    assert budget.spacing_seconds(300, workers=3) == pytest.approx(3 * 15 - 30 / 300)


def test_calls_that_no_figure_includes_yet_count_as_used() -> None:
    clock = Clock()
    budget = RateBudget(clock)
    budget.note(HALF)

    budget.released()
    budget.released()
    after_two = budget.spacing_seconds(1)
    budget.note(HALF)
    after_an_answer = budget.spacing_seconds(1)
    clock.sleep(10)

    assert (after_two, after_an_answer) == pytest.approx((15, 0))
    assert budget.spacing_seconds(1) == 0


def test_a_refusal_blocks_for_its_time_and_overrides_the_figures() -> None:
    clock = Clock()
    budget = RateBudget(clock)
    budget.note(HALF)

    budget.refused(8.0)

    assert budget.wait_seconds == budget.refused_seconds == pytest.approx(8)
    assert budget.spacing_seconds(1) == pytest.approx(15, rel=0.01)
    assert budget.is_low


@pytest.mark.parametrize("retry_after", [0.0, None])
def test_a_refusal_that_names_no_time_blocks_nobody_but_spreads(retry_after: float | None) -> None:
    budget = RateBudget(Clock())
    budget.note(HALF)

    budget.refused(retry_after)

    assert budget.wait_seconds == 0
    assert budget.spacing_seconds(1) == pytest.approx(15, rel=0.01)


def test_a_refusal_never_blocks_for_longer_than_an_hour() -> None:
    budget = RateBudget(Clock())

    budget.refused(1e9)

    assert budget.wait_seconds == 3600


def figure(remaining: int, age_seconds: float) -> RateFigure:
    return RateFigure(
        kind="tokens", remaining=remaining, reset_seconds=60, limit=6000, age_seconds=age_seconds
    )


def test_of_two_figures_the_newer_counts_in_whatever_order_they_come() -> None:
    clock = Clock()
    budget = RateBudget(clock)
    budget.note(HALF)
    clock.sleep(5)

    budget.learn([figure(0, 6.0)], refused_seconds=0, unanswered=0)
    after_the_older = budget.wait_seconds
    budget.learn([figure(0, 4.0)], refused_seconds=0, unanswered=0)

    assert after_the_older == 0
    assert budget.wait_seconds == pytest.approx(60 - 4)


def test_only_what_this_worker_has_noted_is_told() -> None:
    budget = RateBudget(Clock())
    budget.note(HALF)
    noted, answered = budget.take_untold()
    budget.learn([figure(0, 0.0)], refused_seconds=0, unanswered=0)

    assert [figure.remaining for figure in noted] == [3000]
    assert answered == 1
    assert budget.take_untold() == ([], 0)
    assert [figure.remaining for figure in budget.take_untold(repeats=True)[0]] == [3000]
