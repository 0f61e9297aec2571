"""One attempt: admitted, judged, told of."""

from contextlib import aclosing

import pytest

from backend.completion import Allowance, Text
from backend.errors import (
    GapTimeout,
    ToolUseFailed,
    UpstreamBusy,
    UpstreamError,
    UpstreamGarbled,
    UpstreamRefused,
    UpstreamUnavailable,
)
from backend.resilience.breaker import Breaker, BreakerState
from backend.resilience.budget import Budget
from backend.resilience.guard import Attempt, Guarded
from tests.fakes import Clock, ScriptedModel, breaks, says
from tests.unit.resilience.conversing import (
    a_request,
    an_unawaited_request,
    deltas_of,
    heard_before_failing,
    said,
)


class World:
    def __init__(self, model: ScriptedModel) -> None:
        self.clock = Clock()
        self.model = model
        self.attempts: list[Attempt] = []
        self.breaker = Breaker(least_calls=2, open_seconds=10, clock=self.clock)
        self.budget = Budget(self.clock)
        self.guarded = Guarded(
            model, breaker=self.breaker, budget=self.budget, on_attempt=self.attempts.append
        )

    @property
    def outcomes(self) -> list[str]:
        return [attempt.outcome for attempt in self.attempts]


async def test_a_good_answer_is_an_attempt_that_went_well() -> None:
    world = World(ScriptedModel([says("Hello.")]))

    assert await said(world.guarded) == "Hello."

    (attempt,) = world.attempts
    assert (attempt.model, attempt.number, attempt.outcome) == ("scripted", 1, "ok")
    assert attempt.seconds > 0


async def test_an_attempt_knows_when_its_first_text_came_and_whether_one_did() -> None:
    world = World(ScriptedModel([says("Hello."), breaks(UpstreamBusy()), says()]))

    await deltas_of(world.guarded)
    with pytest.raises(UpstreamBusy):
        await deltas_of(world.guarded)
    await deltas_of(world.guarded)

    spoke, refused, silent = [attempt.first_chunk_seconds for attempt in world.attempts]
    assert spoke is not None
    assert 0 < spoke <= world.attempts[0].seconds
    assert (refused, silent) == (None, None)


async def test_attempts_of_one_request_are_numbered_through() -> None:
    world = World(ScriptedModel([breaks(UpstreamBusy()), says("Hello.")]))
    request = a_request()

    with pytest.raises(UpstreamBusy):
        await deltas_of(world.guarded, request)
    await deltas_of(world.guarded, request)

    numbered = [(attempt.number, attempt.outcome) for attempt in world.attempts]
    assert numbered == [(1, "upstream_busy"), (2, "ok")]


@pytest.mark.parametrize("error", [UpstreamUnavailable(), GapTimeout(), UpstreamGarbled()])
async def test_outages_open_the_breaker_and_then_nobody_is_asked(error: UpstreamError) -> None:
    world = World(ScriptedModel([breaks(error)]))
    for _ in range(2):
        await heard_before_failing(world.guarded, UpstreamError)

    with pytest.raises(UpstreamUnavailable) as refused:
        await deltas_of(world.guarded)

    assert world.breaker.state is BreakerState.OPEN
    assert refused.value.retry_after == pytest.approx(10)
    assert len(world.model.requests) == 2
    assert len(world.attempts) == 2


@pytest.mark.parametrize("error", [UpstreamBusy(), UpstreamRefused(), ToolUseFailed("x")])
async def test_what_we_did_wrong_does_not_speak_against_the_model(error: UpstreamError) -> None:
    world = World(ScriptedModel([breaks(error)]))

    for _ in range(5):
        await heard_before_failing(world.guarded, UpstreamError)

    assert world.breaker.state is BreakerState.CLOSED


async def test_breaking_off_in_mid_stream_counts_as_an_outage() -> None:
    world = World(ScriptedModel([breaks(UpstreamGarbled(), Text("Half"))]))

    heard = [await heard_before_failing(world.guarded, UpstreamGarbled) for _ in range(2)]

    assert heard == [[Text("Half")]] * 2
    assert world.breaker.state is BreakerState.OPEN


async def test_a_client_that_leaves_is_no_verdict_and_frees_the_probe() -> None:
    world = World(ScriptedModel([breaks(UpstreamUnavailable()), breaks(UpstreamUnavailable())]))
    for _ in range(2):
        await heard_before_failing(world.guarded, UpstreamError)
    world.clock.sleep(10)
    world.model.script = [breaks(UpstreamUnavailable(), Text("a"))]

    async with aclosing(world.guarded.complete(a_request())) as deltas:
        await anext(deltas)

    assert world.outcomes[-1] == "cancelled"
    assert world.breaker.wait_seconds == 0
    assert world.model.open_completions == 0


async def test_a_budget_that_is_used_up_is_not_asked_for_more() -> None:
    world = World(ScriptedModel([says("Hello.")]))
    world.budget.note(Allowance(kind="tokens", remaining=0, reset_seconds=3))

    with pytest.raises(UpstreamBusy) as refused:
        await deltas_of(world.guarded)
    world.clock.sleep(3)
    answer = await said(world.guarded)

    assert refused.value.retry_after == pytest.approx(3)
    assert answer == "Hello."
    assert len(world.model.requests) == 1


async def test_a_low_budget_is_kept_for_those_who_wait() -> None:
    world = World(ScriptedModel([says("Hello.")]))
    world.budget.note(Allowance(kind="tokens", remaining=400, reset_seconds=30, limit=1000))

    with pytest.raises(UpstreamBusy) as refused:
        await deltas_of(world.guarded, an_unawaited_request())
    answer = await said(world.guarded)

    assert not refused.value.was_asked
    assert answer == "Hello."
    assert len(world.attempts) == 1


async def test_what_nobody_waits_for_is_never_the_probe_of_a_breaker() -> None:
    world = World(ScriptedModel([breaks(UpstreamUnavailable())] * 2 + [says("Hello.")]))
    for _ in range(2):
        await heard_before_failing(world.guarded, UpstreamError)
    world.clock.sleep(10)
    assert world.breaker.state is BreakerState.HALF_OPEN

    with pytest.raises(UpstreamBusy):
        await deltas_of(world.guarded, an_unawaited_request())
    probed = await said(world.guarded)
    await deltas_of(world.guarded, an_unawaited_request())

    assert probed == "Hello."
    assert world.outcomes[-2:] == ["ok", "ok"]
