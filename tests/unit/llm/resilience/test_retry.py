"""Retrying the same model."""

import asyncio
import time
from dataclasses import replace
from itertools import pairwise

import pytest

from backend.domain.errors import (
    FirstByteTimeout,
    GapTimeout,
    UpstreamBusy,
    UpstreamError,
    UpstreamGarbled,
    UpstreamRefused,
    UpstreamUnavailable,
)
from backend.llm.port import Text
from backend.llm.resilience.gate import Gate
from backend.llm.resilience.retry import Schedule
from tests.fakes import Scripted, ScriptedModel, breaks, says, scripted
from tests.unit.llm.resilience.conversing import (
    Retrying,
    a_request,
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
        UpstreamBusy(),
        UpstreamBusy(retry_after=0),
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


def test_a_wish_that_is_hardly_one_is_no_shorter_than_the_back_off() -> None:
    most = Schedule(base_seconds=0.25, jitter=lambda most: most)

    assert most.wait_seconds(1, UpstreamBusy(retry_after=0.001)) == 0.25
    assert most.wait_seconds(2, UpstreamBusy(retry_after=0.001)) == 0.5
    assert most.wait_seconds(1, UpstreamUnavailable(retry_after=0)) == 0.25


@pytest.mark.parametrize(
    ("error", "calls"),
    [
        (UpstreamBusy(retry_after=0.001), 1),
        (UpstreamUnavailable(retry_after=0.001), 1),
        (UpstreamUnavailable(), 3),
    ],
)
async def test_when_the_list_is_asked_again_one_that_says_when_is_asked_once(
    error: UpstreamError, calls: int
) -> None:
    model = ScriptedModel([breaks(error)])
    request = replace(a_request(), is_again=True)

    with pytest.raises(UpstreamError):
        await deltas_of(Retrying(model, AT_ONCE), request)

    assert len(model.requests) == calls


async def test_turns_that_wait_for_the_same_rate_ask_again_one_by_one() -> None:
    model = ScriptedModel([*[breaks(UpstreamBusy(retry_after=0.1))] * 6, says("Hello.")])
    retry = Retrying(model, AT_ONCE, Gate(lambda _: 0.05))
    ended_at: list[float] = []

    async def turn() -> None:
        await said(retry)
        ended_at.append(time.monotonic())

    await asyncio.gather(*(turn() for _ in range(6)))

    assert all(later - earlier >= 0.045 for earlier, later in pairwise(ended_at))


async def test_the_end_of_a_long_line_is_left_to_the_next_model() -> None:
    model = ScriptedModel([breaks(UpstreamBusy(retry_after=0.1)), says("Hello.")])
    gate = Gate(lambda _: 1.0)
    line = [asyncio.create_task(gate.passed(0.0)) for _ in range(3)]
    await asyncio.sleep(0)

    await heard_before_failing(Retrying(model, AT_ONCE, gate), UpstreamBusy)

    for each in line:
        each.cancel()
    await asyncio.wait(line)
    assert len(model.requests) == 1


async def test_a_completion_without_any_delta_is_a_failure_of_the_model() -> None:
    with pytest.raises(UpstreamGarbled):
        await deltas_of(Retrying(scripted(Scripted([])), Schedule(attempts=1)))
