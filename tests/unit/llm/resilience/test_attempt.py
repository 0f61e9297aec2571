"""One attempt: its admission, its verdict, its report."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import replace
from typing import Generic, TypeVar

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from backend.domain.errors import (
    GapTimeout,
    ToolUseFailed,
    UpstreamBusy,
    UpstreamError,
    UpstreamGarbled,
    UpstreamRefused,
    UpstreamUnavailable,
)
from backend.llm.port import Allowance, CompletionRequest, Delta, NamedModel, Text
from backend.llm.resilience.attempt import Attempt, SingleAttempt
from backend.llm.resilience.circuit_breaker import BreakerState, CircuitBreaker
from backend.llm.resilience.rate_budget import RateBudget
from backend.telemetry import tracing
from tests.fakes import Clock, Scripted, ScriptedModel, breaks, says
from tests.unit.llm.resilience.conversing import (
    a_request,
    an_unawaited_request,
    deltas_of,
    heard_before_failing,
    said,
)

Model = TypeVar("Model", bound=NamedModel)


class World(Generic[Model]):
    def __init__(self, model: Model) -> None:
        self.clock = Clock()
        self.model = model
        self.attempts: list[Attempt] = []
        self.breaker = CircuitBreaker(least_calls=2, open_seconds=10, clock=self.clock)
        self.budget = RateBudget(self.clock)
        self.attempting = SingleAttempt(
            model, breaker=self.breaker, budget=self.budget, on_attempt=self.attempts.append
        )

    @property
    def outcomes(self) -> list[str]:
        return [attempt.outcome for attempt in self.attempts]


async def test_a_good_answer_is_an_attempt_that_went_well() -> None:
    world = World(ScriptedModel([says("Hello.")]))

    assert await said(world.attempting) == "Hello."

    (attempt,) = world.attempts
    assert (attempt.model, attempt.number, attempt.outcome) == ("scripted", 1, "ok")
    assert attempt.seconds > 0


async def test_an_attempt_knows_when_its_first_text_came_and_whether_one_did() -> None:
    world = World(ScriptedModel([says("Hello."), breaks(UpstreamBusy()), says()]))

    await deltas_of(world.attempting)
    with pytest.raises(UpstreamBusy):
        await deltas_of(world.attempting)
    await deltas_of(world.attempting)

    spoke, refused, silent = [attempt.first_chunk_seconds for attempt in world.attempts]
    assert spoke is not None
    assert 0 < spoke <= world.attempts[0].seconds
    assert (refused, silent) == (None, None)


async def test_an_attempt_knows_its_purpose_and_why_the_model_stopped() -> None:
    world = World(ScriptedModel([says("Hello."), breaks(UpstreamBusy())]))

    await deltas_of(world.attempting, replace(a_request(), purpose="summary"))
    with pytest.raises(UpstreamBusy):
        await deltas_of(world.attempting)

    told = [(attempt.purpose, attempt.finish_reason) for attempt in world.attempts]
    assert told == [("summary", "stop"), ("turn", None)]


async def test_attempts_of_one_request_are_numbered_through() -> None:
    world = World(ScriptedModel([breaks(UpstreamBusy()), says("Hello.")]))
    request = a_request()

    with pytest.raises(UpstreamBusy):
        await deltas_of(world.attempting, request)
    await deltas_of(world.attempting, request)

    numbered = [(attempt.number, attempt.outcome) for attempt in world.attempts]
    assert numbered == [(1, "upstream_busy"), (2, "ok")]


@pytest.mark.parametrize("error", [UpstreamUnavailable(), GapTimeout(), UpstreamGarbled()])
async def test_outages_open_the_breaker_and_then_nobody_is_asked(error: UpstreamError) -> None:
    world = World(ScriptedModel([breaks(error)]))
    for _ in range(2):
        await heard_before_failing(world.attempting, UpstreamError)

    with pytest.raises(UpstreamUnavailable) as refused:
        await deltas_of(world.attempting)

    assert world.breaker.state is BreakerState.OPEN
    assert refused.value.retry_after == pytest.approx(10)
    assert len(world.model.requests) == 2
    assert len(world.attempts) == 2


@pytest.mark.parametrize("error", [UpstreamBusy(), UpstreamRefused(), ToolUseFailed("x")])
async def test_what_we_did_wrong_does_not_speak_against_the_model(error: UpstreamError) -> None:
    world = World(ScriptedModel([breaks(error)]))

    for _ in range(5):
        await heard_before_failing(world.attempting, UpstreamError)

    assert world.breaker.state is BreakerState.CLOSED


async def test_breaking_off_in_mid_stream_counts_as_an_outage() -> None:
    world = World(ScriptedModel([breaks(UpstreamGarbled(), Text("Half"))]))

    heard = [await heard_before_failing(world.attempting, UpstreamGarbled) for _ in range(2)]

    assert heard == [[Text("Half")]] * 2
    assert world.breaker.state is BreakerState.OPEN


async def test_a_client_that_leaves_is_no_verdict_and_frees_the_probe() -> None:
    world = World(ScriptedModel([breaks(UpstreamUnavailable()), breaks(UpstreamUnavailable())]))
    for _ in range(2):
        await heard_before_failing(world.attempting, UpstreamError)
    world.clock.sleep(10)
    world.model.script = [breaks(UpstreamUnavailable(), Text("a"))]

    async with aclosing(world.attempting.complete(a_request())) as deltas:
        await anext(deltas)

    assert world.outcomes[-1] == "cancelled"
    assert world.breaker.wait_seconds == 0
    assert world.model.open_completions == 0


async def test_a_budget_that_is_used_up_is_not_asked_for_more() -> None:
    world = World(ScriptedModel([says("Hello.")]))
    world.budget.note(Allowance(kind="tokens", remaining=0, reset_seconds=3))

    with pytest.raises(UpstreamBusy) as refused:
        await deltas_of(world.attempting)
    world.clock.sleep(3)
    answer = await said(world.attempting)

    assert refused.value.retry_after == pytest.approx(3)
    assert answer == "Hello."
    assert len(world.model.requests) == 1


async def test_a_low_budget_is_kept_for_those_who_wait() -> None:
    world = World(ScriptedModel([says("Hello.")]))
    world.budget.note(Allowance(kind="tokens", remaining=400, reset_seconds=30, limit=1000))

    with pytest.raises(UpstreamBusy) as refused:
        await deltas_of(world.attempting, an_unawaited_request())
    answer = await said(world.attempting)

    assert not refused.value.was_asked
    assert answer == "Hello."
    assert len(world.attempts) == 1


async def test_what_nobody_waits_for_is_never_the_probe_of_a_breaker() -> None:
    world = World(ScriptedModel([breaks(UpstreamUnavailable())] * 2 + [says("Hello.")]))
    for _ in range(2):
        await heard_before_failing(world.attempting, UpstreamError)
    world.clock.sleep(10)
    assert world.breaker.state is BreakerState.HALF_OPEN

    with pytest.raises(UpstreamBusy):
        await deltas_of(world.attempting, an_unawaited_request())
    probed = await said(world.attempting)
    await deltas_of(world.attempting, an_unawaited_request())

    assert probed == "Hello."
    assert world.outcomes[-2:] == ["ok", "ok"]


class BrokenModel:
    """A model that raises an unexpected exception, before its first delta or after it."""

    name = "broken"

    def __init__(self, *before: Delta) -> None:
        self._before = before

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Delta, None]:
        for delta in self._before:
            yield delta
        raise KeyError(request.prompt)


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.record_with(provider.get_tracer("test"))
    yield exporter
    tracing.record_nothing()


@pytest.mark.parametrize("before", [(), (Text("Half"),)], ids=["before it speaks", "in mid-stream"])
async def test_a_defect_of_ours_is_an_internal_error_and_not_the_models_fault(
    before: tuple[Delta, ...], spans: InMemorySpanExporter
) -> None:
    world = World(BrokenModel(*before))

    for _ in range(5):
        with pytest.raises(KeyError):
            await deltas_of(world.attempting)

    assert world.outcomes == ["internal_error"] * 5
    assert world.breaker.state is BreakerState.CLOSED
    (*_, span) = spans.get_finished_spans()
    assert (span.attributes or {})["error.type"] == "internal_error"
    assert span.status.status_code is StatusCode.ERROR


async def test_a_call_whose_task_is_cancelled_is_cancelled() -> None:
    gate = asyncio.Event()
    world = World(ScriptedModel([Scripted([Text("Half"), gate])]))
    calling = asyncio.create_task(deltas_of(world.attempting))
    await asyncio.sleep(0)

    calling.cancel()
    await asyncio.wait([calling])

    assert world.outcomes == ["cancelled"]
