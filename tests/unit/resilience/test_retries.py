"""The same model again."""

import pytest

from backend.completion import Text
from backend.errors import (
    FirstByteTimeout,
    GapTimeout,
    UpstreamBusy,
    UpstreamError,
    UpstreamRefused,
    UpstreamUnavailable,
)
from backend.resilience.retries import Retrying, Schedule
from tests.fakes import ScriptedModel, breaks, says
from tests.unit.resilience.conversing import (
    an_unawaited_request,
    deltas_of,
    heard_before_failing,
    said,
)

AT_ONCE = Schedule(jitter=lambda _most: 0.0)


async def test_a_passing_failure_is_tried_again() -> None:
    model = ScriptedModel([breaks(UpstreamUnavailable()), says("Hello.")])

    assert await said(Retrying(model, AT_ONCE)) == "Hello."

    assert len(model.requests) == 2


async def test_after_its_last_attempt_the_failure_is_passed_on() -> None:
    model = ScriptedModel([breaks(UpstreamUnavailable())])

    await heard_before_failing(Retrying(model, AT_ONCE), UpstreamUnavailable)

    assert len(model.requests) == AT_ONCE.attempts


async def test_nothing_is_said_twice() -> None:
    model = ScriptedModel([breaks(UpstreamUnavailable(), Text("Hel")), says("Hello.")])

    heard = await heard_before_failing(Retrying(model, AT_ONCE), UpstreamUnavailable)

    assert heard == [Text("Hel")]
    assert len(model.requests) == 1


@pytest.mark.parametrize(
    "error",
    [
        UpstreamRefused(),
        UpstreamBusy(is_passing=False),
        UpstreamBusy(retry_after=30),
        UpstreamBusy(retry_after=1740),
        FirstByteTimeout(),
        GapTimeout(),
    ],
)
async def test_what_another_try_cannot_mend_soon_is_not_tried(error: UpstreamError) -> None:
    model = ScriptedModel([breaks(error)])

    await heard_before_failing(Retrying(model, AT_ONCE), type(error))

    assert len(model.requests) == 1


def test_the_wait_doubles_up_to_its_bound_and_is_jittered_in_full() -> None:
    most = Schedule(attempts=9, base_seconds=0.25, longest_wait_seconds=2, jitter=lambda most: most)
    error = UpstreamUnavailable()

    waits = [most.wait_seconds(attempt, error) for attempt in range(1, 7)]

    assert waits == [0.25, 0.5, 1.0, 2.0, 2.0, 2.0]
    drawn = [Schedule(base_seconds=1).wait_seconds(1, error) or 0.0 for _ in range(200)]
    assert min(drawn) < 0.1
    assert 0.9 < max(drawn) <= 1.0


def test_the_upstreams_own_wish_is_honoured_while_it_is_short() -> None:
    schedule = Schedule(longest_wait_seconds=2)

    assert schedule.wait_seconds(1, UpstreamBusy(retry_after=0.43)) == 0.43
    assert schedule.wait_seconds(1, UpstreamBusy(retry_after=2.5)) is None


async def test_retries_end_with_their_budget() -> None:
    model = ScriptedModel([breaks(UpstreamUnavailable())])
    schedule = Schedule(attempts=100, budget_seconds=0.1, jitter=lambda _most: 0.04)

    await heard_before_failing(Retrying(model, schedule), UpstreamUnavailable)

    assert 2 <= len(model.requests) <= 3


async def test_what_was_refused_without_asking_is_left_to_the_next_model() -> None:
    refusal = UpstreamUnavailable(retry_after=0.01)
    refusal.was_asked = False
    model = ScriptedModel([breaks(refusal), says("Hello.")])

    await heard_before_failing(Retrying(model, AT_ONCE), UpstreamUnavailable)

    assert len(model.requests) == 1


async def test_what_nobody_waits_for_is_asked_once() -> None:
    model = ScriptedModel([breaks(UpstreamUnavailable()), says("Hello.")])

    with pytest.raises(UpstreamUnavailable):
        await deltas_of(Retrying(model, AT_ONCE), an_unawaited_request())

    assert len(model.requests) == 1
