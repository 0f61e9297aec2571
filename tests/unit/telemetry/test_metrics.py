"""How turns, calls and streams are counted."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from prometheus_client import REGISTRY

from backend.api.delivery_metrics import Delivery
from backend.domain.conversation import ANONYMOUS, ToolCall
from backend.domain.errors import UpstreamUnavailable
from backend.domain.events import Chunk, End, Event, ToolCalled, ToolOutput
from backend.telemetry import exposition, metrics
from backend.telemetry.loop_lag import LoopLag
from backend.telemetry.turn_clock import Part
from backend.tools.registry import Toolbox
from backend.turns.event_log import EventLog
from backend.turns.first_chunk import FirstChunk
from tests.fakes import Gates, a_context, breaks, calls, echo, refuse, says
from tests.unit.turns.turn_world import World, until

Counted = Callable[..., float]

AGENT = {"gen_ai_agent_name": "lex"}


def call(model: str) -> dict[str, str]:
    """The labels of a call of a model, by a process that has not prepared its provider."""
    return {
        "gen_ai_operation_name": "chat",
        "gen_ai_provider_name": metrics._provider,
        "gen_ai_request_model": model,
    }


@pytest.fixture
def counted() -> Counted:
    """Returns by how much a series has grown since the test began."""
    before = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in REGISTRY.collect()
        for sample in family.samples
    }

    def grown(name: str, **labels: str) -> float:
        value = REGISTRY.get_sample_value(name, labels) or 0.0
        return value - before.get((name, tuple(sorted(labels.items()))), 0.0)

    return grown


async def test_a_turn_is_counted_once_with_its_rounds(counted: Counted) -> None:
    world = World(calls(("echo", '{"word": "a"}'), ("echo", '{"word": "b"}')), says("Hello."))

    await world.ask()
    await world.turns.close()

    assert counted("lex_turns_total", outcome="completed", transport="sse") == 1
    assert counted("gen_ai_invoke_agent_duration_seconds_count", **AGENT, error_type="") == 1
    assert counted("lex_turn_rounds_sum") == 2
    assert counted("lex_turn_rounds_count") == 1
    assert counted("lex_overhead_seconds_count") == 1
    assert counted("lex_tool_calls_total", gen_ai_tool_name="echo", outcome="ok") == 2


async def test_a_turn_says_what_carried_it_and_how_it_ended(counted: Counted) -> None:
    world = World(breaks(UpstreamUnavailable()))

    _, follower = await world.start(transport="websocket")
    async for _ in follower.batches():
        pass
    follower.leave()
    await world.turns.close()

    failed = AGENT | {"error_type": "upstream_unavailable"}
    assert counted("gen_ai_invoke_agent_duration_seconds_count", **failed) == 1
    assert counted("lex_turns_total", outcome="failed", transport="websocket") == 1
    assert counted("lex_turns_total", outcome="failed", transport="sse") == 0


async def test_the_time_of_tools_is_no_overhead(counted: Counted) -> None:
    gates = Gates()
    script = calls(("wait", '{"word": "a"}'), ("wait", '{"word": "b"}'))
    world = World(script, says("Done."), tools=gates.tools)

    _, follower = await world.start()
    await gates.begun.wait()
    await asyncio.sleep(0.4)  # the time that is measured
    gates.opened.set()
    async for _ in follower.batches():
        pass
    follower.leave()
    await world.turns.close()

    assert counted("lex_turn_part_seconds_total", part="tools") > 0.38
    assert counted("lex_overhead_seconds_sum") < 0.2


async def test_slots_are_free_again_after_a_turn_and_a_drain_is_told() -> None:
    gate = asyncio.Event()
    world = World(breaks(UpstreamUnavailable(), gate), max_streams=3)
    metrics.prepare_build(version="1", revision="2")
    metrics.prepare_drain(limit_seconds=72)
    begun_at = time.time()

    _, follower = await world.start()
    while_it_runs = REGISTRY.get_sample_value("lex_slots_free")
    is_draining = REGISTRY.get_sample_value("lex_draining")
    gate.set()
    await world.turns.close()
    follower.leave()

    assert (while_it_runs, is_draining) == (2, 0)
    assert REGISTRY.get_sample_value("lex_slots_free") == 3
    assert REGISTRY.get_sample_value("lex_draining") == 1
    started_at = REGISTRY.get_sample_value("lex_drain_started_timestamp_seconds") or 0
    assert begun_at <= started_at <= time.time()
    assert REGISTRY.get_sample_value("lex_drain_limit_seconds") == 72
    assert REGISTRY.get_sample_value("lex_build_info", {"version": "1", "revision": "2"}) == 1


async def test_followers_are_counted_while_they_follow(counted: Counted) -> None:
    log = EventLog("t1")

    one, two = log.follow(), log.follow()
    both = counted("lex_followers")
    one.leave()
    one.leave()

    assert both == 2
    assert counted("lex_followers") == 1
    two.leave()


async def read_all(log: EventLog, delivery: Delivery, batches: AsyncIterator[Any]) -> None:
    log.close()
    async for batch in batches:
        delivery.sent(batch.events)


CALLED = ToolCalled("call_1", "echo", {})
ANSWERED = ToolOutput("echo", {}, "call_1")


@pytest.mark.parametrize(
    ("seen", "window"),
    [
        ((), "before_first_chunk"),
        ((CALLED,), "tool"),
        ((CALLED, ANSWERED), "before_first_chunk"),
        ((Chunk("One"),), "streaming"),
        ((Chunk("One"), CALLED), "tool"),
        ((Chunk("One"), CALLED, ANSWERED), "streaming"),
    ],
)
async def test_a_client_that_leaves_is_counted_by_what_it_waited_for(
    seen: tuple[Event, ...], window: str, counted: Counted
) -> None:
    log = EventLog("t1")
    follower = log.follow()
    for event in seen:
        log.append(event)

    with Delivery(follower, transport="sse") as delivery:
        is_open = counted("lex_streams_open", transport="sse")
        if seen:
            delivery.sent((await anext(follower.batches())).events)
    follower.leave()

    windows = {
        each: counted("lex_stream_disconnects_total", window=each)
        for each in ("before_first_chunk", "streaming", "tool")
    }
    assert is_open == 1
    assert counted("lex_streams_open", transport="sse") == 0
    assert windows == {**dict.fromkeys(windows, 0), window: 1}


async def test_a_stream_that_was_read_to_its_end_has_a_first_chunk_and_no_leaver(
    counted: Counted,
) -> None:
    log = EventLog("t1")
    log.first_chunk = FirstChunk("websocket", asked_at=0)
    follower = log.follow()
    for event in (CALLED, ANSWERED, Chunk("One"), Chunk("Two"), End()):
        log.append(event)

    with Delivery(follower, transport="websocket") as delivery:
        await read_all(log, delivery, follower.batches())
    follower.leave()

    assert counted("lex_time_to_first_chunk_seconds_count", transport="websocket") == 1
    assert counted("lex_stream_disconnects_total", window="streaming") == 0


async def test_a_resumed_stream_has_no_first_chunk(counted: Counted) -> None:
    log = EventLog("t1")
    follower = log.follow()
    log.append(Chunk("One"))

    with Delivery(follower, transport="sse") as delivery:
        await read_all(log, delivery, follower.batches())
    follower.leave()

    assert counted("lex_time_to_first_chunk_seconds_count", transport="sse") == 0


async def test_a_client_that_does_not_read_is_slow_and_has_not_left(counted: Counted) -> None:
    follower = EventLog("t1").follow()

    with Delivery(follower, transport="sse") as delivery:
        delivery.stalled()
    follower.leave()

    assert counted("lex_slow_clients_total") == 1
    assert counted("lex_stream_disconnects_total", window="before_first_chunk") == 0


@pytest.mark.parametrize(
    ("name", "arguments", "tool", "outcome", "error"),
    [
        ("echo", '{"word": "a"}', "echo", "ok", ""),
        ("echo", "{}", "echo", "invalid", "invalid"),
        ("refuse", '{"word": "a"}', "refuse", "refused", ""),
        ("sing <script>", "{}", "unknown", "invalid", "invalid"),
    ],
)
async def test_a_tool_call_is_counted_under_a_name_that_we_know(
    name: str, arguments: str, tool: str, outcome: str, error: str, counted: Counted
) -> None:
    toolbox = Toolbox([echo, refuse], timeout_seconds=1)

    await toolbox.run(ToolCall("call_1", name, arguments), a_context(ANONYMOUS))

    assert counted("lex_tool_calls_total", gen_ai_tool_name=tool, outcome=outcome) == 1
    duration = "gen_ai_execute_tool_duration_seconds_count"
    assert counted(duration, **AGENT, gen_ai_tool_name=tool, error_type=error) == 1


async def test_a_loop_that_is_held_up_is_seen_to_lag(counted: Counted) -> None:
    lag = LoopLag()
    watching = asyncio.create_task(lag.watch())
    await asyncio.sleep(0)

    _hold_up(0.5)
    before_the_timer = lag.stood_still(time.perf_counter())
    await until(lambda: counted("lex_event_loop_lag_seconds_count") == 1)
    watching.cancel()

    assert counted("lex_event_loop_lag_seconds_sum") > 0.4
    assert 0.4 < before_the_timer <= lag.stood_still(time.perf_counter())


def _hold_up(seconds: float) -> None:
    time.sleep(seconds)


def test_what_the_upstream_does_not_tell_is_measured_or_left_out(counted: Counted) -> None:
    answer = metrics.UpstreamAnswer("m1")
    answer.began()
    answer.is_whole(input_tokens=7, output_tokens=5, queue_seconds=None, writing_seconds=None)

    assert counted("lex_upstream_first_byte_seconds_count", gen_ai_request_model="m1") == 1
    assert counted("gen_ai_client_token_usage_sum", **call("m1"), gen_ai_token_type="input") == 7
    assert counted("lex_upstream_queue_seconds_count", gen_ai_request_model="m1") == 0
    assert counted("lex_upstream_tokens_per_second_count", gen_ai_request_model="m1") == 1


def test_what_the_upstream_tells_counts(counted: Counted) -> None:
    answer = metrics.UpstreamAnswer("m1")
    answer.is_whole(input_tokens=7, output_tokens=50, queue_seconds=0.25, writing_seconds=0.5)

    assert counted("lex_upstream_queue_seconds_sum", gen_ai_request_model="m1") == 0.25
    assert counted("lex_upstream_tokens_per_second_sum", gen_ai_request_model="m1") == 100


@pytest.mark.parametrize("is_sampled", [True, False])
def test_openmetrics_names_the_trace_of_a_turn_if_it_is_kept(is_sampled: bool) -> None:
    trace_id = 0xABC0 + is_sampled
    flags = TraceFlags(TraceFlags.SAMPLED if is_sampled else TraceFlags.DEFAULT)
    context = SpanContext(trace_id, 1, is_remote=False, trace_flags=flags)

    with trace.use_span(NonRecordingSpan(context)):
        metrics.turn_ended(
            "completed", "sse", error=None, seconds=dict.fromkeys(Part, 1.0), rounds=1
        )
    openmetrics, headers = exposition.exposition("application/openmetrics-text;version=1.0.0")
    plain, _ = exposition.exposition()

    assert headers["Content-Type"].startswith("application/openmetrics-text")
    assert (f'trace_id="{trace_id:032x}"'.encode() in openmetrics) is is_sampled
    assert b"trace_id" not in plain
