"""The real SDK against the stand-in: it ends with a completion or with one of our errors."""

import asyncio
import json
import random
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr

from backend.domain.conversation import Message, ToolCall
from backend.domain.errors import (
    AnswerCut,
    ConnectTimeout,
    FirstByteTimeout,
    GapTimeout,
    ModelNotServed,
    ModelRetired,
    RequestTooLarge,
    ToolUseFailed,
    UpstreamBusy,
    UpstreamError,
    UpstreamGarbled,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from backend.llm.groq.client import open_client
from backend.llm.groq.completion_bounds import CompletionBounds
from backend.llm.groq.model import GroqModel
from backend.llm.port import Allowance, ChatModel, CompletionRequest, Delta, Finish, Text
from backend.llm.resilience.retry import Schedule
from infrastructure.groq_standin import Standin
from tests.unit.llm.resilience.conversing import Retrying
from tests.waiting import LIMIT_SECONDS

REQUEST = CompletionRequest(prompt="You are Lex.", messages=[Message.user("Hi")])


@asynccontextmanager
async def asked(standin: Standin, **bounds: Any) -> AsyncIterator[GroqModel]:
    client = open_client(
        api_key=SecretStr("test"),
        base_url=standin.url,
        connect_seconds=LIMIT_SECONDS,
        max_connections=bounds.get("max_connections", 20),
    )
    try:
        yield GroqModel(
            client,
            bounds.get("name", "llama-3.3-70b-versatile"),
            max_completion_tokens=100,
            first_byte_seconds=bounds.get("first_byte_seconds", 5),
            gap_seconds=bounds.get("gap_seconds", 5),
            first_delta_seconds=bounds.get("first_delta_seconds", 60),
            bounds=bounds.get("bounds"),
            on_allowance=bounds.get("on_allowance", lambda _: None),
        )
    finally:
        await client.close()


async def deltas_of(model: ChatModel) -> list[Delta]:
    async with aclosing(model.complete(REQUEST)) as deltas:
        return [delta async for delta in deltas]


async def test_a_completion_is_text_and_one_finish() -> None:
    async with Standin.serve() as standin, asked(standin) as model:
        standin.script({"text": "Good morning, 東京!"})

        deltas = await deltas_of(model)

    assert (
        "".join(delta.text for delta in deltas if isinstance(delta, Text)) == "Good morning, 東京!"
    )
    finish = deltas[-1]
    assert isinstance(finish, Finish)
    assert (finish.reason, finish.model) == ("stop", "groq-standin/llama-3.3-70b-versatile")
    assert finish.usage.input_tokens > 0


async def test_tool_calls_are_whole_also_when_their_arguments_are_split() -> None:
    calls = [
        {"name": "echo", "arguments": {"word": "a b c"}, "id": "x"},
        {"name": "now", "id": "y"},
    ]
    async with Standin.serve() as standin, asked(standin) as model:
        standin.script({"calls": calls, "split_arguments_into": 4})

        deltas = await deltas_of(model)

    assert deltas[0] == ToolCall("x", "echo", '{"word":"a b c"}')
    assert isinstance(deltas[1], ToolCall)
    assert deltas[1].name == "now"


async def test_text_that_has_arrived_together_is_one_delta() -> None:
    async with Standin.serve() as standin, asked(standin) as model:
        standin.script({"tokens": 500})

        deltas = await deltas_of(model)

    assert len([delta for delta in deltas if isinstance(delta, Text)]) < 20


async def test_a_connection_is_used_again() -> None:
    async with Standin.serve() as standin, asked(standin) as model:
        for _ in range(5):
            standin.script({"text": "Hello again"})
            await deltas_of(model)

        assert standin.stats.connections == 1


FAULTS: list[tuple[dict[str, Any], type[UpstreamError]]] = [
    ({"kind": "status", "status": 500}, UpstreamUnavailable),
    ({"kind": "status", "status": 503}, UpstreamUnavailable),
    ({"kind": "status", "status": 502, "body": "<html>Bad gateway</html>"}, UpstreamUnavailable),
    ({"kind": "rate_limit", "retry_after": 35}, UpstreamBusy),
    ({"kind": "rate_limit", "x_should_retry": False}, RequestTooLarge),
    ({"kind": "too_large_413"}, RequestTooLarge),
    ({"kind": "model_not_found"}, ModelNotServed),
    ({"kind": "model_decommissioned"}, ModelRetired),
    ({"kind": "model_permission_blocked"}, ModelNotServed),
    ({"kind": "model_permission_blocked", "level": "org"}, ModelNotServed),
    ({"kind": "model_terms_required"}, ModelNotServed),
    ({"kind": "capacity_exceeded_498"}, UpstreamBusy),
    ({"kind": "invalid_api_key"}, UpstreamRefused),
    ({"kind": "context_overflow"}, RequestTooLarge),
    ({"kind": "json_validate_failed"}, UpstreamRefused),
    ({"kind": "output_parse_failed"}, ToolUseFailed),
    ({"kind": "output_parse_failed", "after_tokens": 1}, ToolUseFailed),
    ({"kind": "tool_use_failed"}, ToolUseFailed),
    ({"kind": "tool_use_failed", "after_tokens": 1}, ToolUseFailed),
    ({"kind": "tool_use_failed", "after_tokens": 1, "error_is_string": True}, UpstreamError),
    ({"kind": "html_200"}, UpstreamGarbled),
    ({"kind": "silence"}, FirstByteTimeout),
    ({"kind": "stall", "after_tokens": 1}, GapTimeout),
    ({"kind": "reset"}, UpstreamUnavailable),
    ({"kind": "reset", "after_tokens": 1}, UpstreamUnavailable),
    ({"kind": "close"}, UpstreamUnavailable),
    ({"kind": "close", "after_tokens": 1}, UpstreamError),
    ({"kind": "cut_json", "after_tokens": 1}, UpstreamGarbled),
    ({"kind": "invalid_utf8", "after_tokens": 1}, UpstreamGarbled),
    ({"kind": "bad_json", "after_tokens": 1}, UpstreamGarbled),
    ({"kind": "x_groq_error", "after_tokens": 1}, UpstreamGarbled),
    ({"kind": "no_finish_reason"}, UpstreamGarbled),
]


@pytest.mark.parametrize(("fault", "error"), FAULTS, ids=lambda value: str(value)[:60])
async def test_every_fault_is_an_error_of_ours_and_leaves_no_connection(
    fault: dict[str, Any], error: type[UpstreamError]
) -> None:
    # An upstream that is not silent gets all the time that a busy machine takes.
    seconds = 0.3 if issubclass(error, UpstreamTimeout) else LIMIT_SECONDS
    limits = {"first_byte_seconds": seconds, "gap_seconds": seconds}
    async with Standin.serve() as standin, asked(standin, **limits, max_connections=1) as model:
        standin.script({"text": "one two three", "fault": fault}, times=1)

        with pytest.raises(error):
            await deltas_of(model)

        await standin.stats.until(lambda stats: stats.open_streams == 0)
        # The next call works, even with a pool of one connection. It is tried twice, because the
        # upstream may be closing the pooled connection.
        assert await deltas_of(Retrying(model, Schedule(base_seconds=0)))
        assert standin.stats.connections - standin.stats.open_connections <= 1


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "split_multibyte"},
        {"kind": "empty_choices"},
        {"kind": "huge_frame", "bytes": 1_000_000},
        {"kind": "last_frame_unterminated"},
    ],
    ids=lambda fault: fault["kind"],
)
async def test_what_is_only_unusual_is_no_error(fault: dict[str, Any]) -> None:
    async with Standin.serve() as standin, asked(standin) as model:
        standin.script({"text": "Grüße aus München", "fault": fault}, times=1)

        deltas = await deltas_of(model)

    assert isinstance(deltas[-1], Finish)


def raw(body: bytes, **how: Any) -> dict[str, Any]:
    return {"fault": {"kind": "raw", "body": body, **how}}


def frame(delta: dict[str, Any], reason: str | None = None, **more: Any) -> bytes:
    choices = [{"index": 0, "delta": delta, "finish_reason": reason}]
    return b"data: " + json.dumps({"model": "m", "choices": choices, **more}).encode() + b"\n\n"


THOUGHT, SAID = frame({"reasoning": "Let me see."}), frame({"content": "Hi"})
FINISH = frame({}, "stop")
USAGE = b'data: {"choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 3}}\n\n'


@pytest.mark.parametrize(
    "body",
    [b": still thinking\n\n" * 1000, frame({"content": ""}) * 100, SAID],
    ids=["comments", "empty deltas", "a byte at a time"],
)
async def test_bytes_that_say_nothing_in_time_are_silence(body: bytes) -> None:
    async with (
        Standin.serve() as standin,
        asked(standin, first_delta_seconds=0.3, gap_seconds=5) as model,
    ):
        standin.script(raw(body, piece_bytes=1, seconds=0.05), times=None)

        with pytest.raises(FirstByteTimeout) as raised:
            await deltas_of(model)

        assert not raised.value.is_late
        await standin.stats.until(lambda stats: stats.open_streams == 0)


async def test_reasoning_in_time_is_a_first_delta() -> None:
    async with Standin.serve() as standin, asked(standin, first_delta_seconds=0.3) as model:
        body = THOUGHT + b":" * 20 + b"\n\n" + SAID + FINISH
        # The thought arrives at once; the first delta then exceeds its time-out.
        standin.script(raw(body, piece_bytes=len(THOUGHT), seconds=0.3))

        deltas = await deltas_of(model)

    assert deltas[0] == Text("Hi")


@pytest.mark.parametrize("ending", ["end", "reset", "silence"])
@pytest.mark.parametrize(("last", "tokens"), [(b"", 0), (USAGE, 12), (USAGE + b"data: {", 12)])
async def test_a_finished_answer_stands_however_its_stream_ends(
    last: bytes, tokens: int, ending: str
) -> None:
    async with Standin.serve() as standin, asked(standin, gap_seconds=60) as model:
        standin.script(raw(THOUGHT + SAID + FINISH + last, ending=ending))

        *texts, finish = await deltas_of(model)

        assert texts == [Text("Hi")]
        assert isinstance(finish, Finish)
        assert finish.usage.input_tokens == tokens
        await standin.stats.until(lambda stats: stats.open_streams == 0)


async def test_usage_is_asked_for_and_read_from_a_frame_of_its_own() -> None:
    async with Standin.serve() as standin, asked(standin) as model:
        standin.script(raw(frame({"content": None}) + SAID + FINISH + USAGE + b"data: [DONE]\n\n"))

        deltas = await deltas_of(model)

        (seen,) = standin.stats.last_requests
    assert seen.body["stream_options"] == {"include_usage": True}
    assert isinstance(deltas[-1], Finish)
    assert deltas[-1].usage.output_tokens == 3


async def test_an_answer_of_nothing_but_reasoning_is_asked_for_once_more() -> None:
    cut = raw(THOUGHT * 3 + frame({}, "length"))
    async with Standin.serve() as standin, asked(standin, name="qwen/qwen3-32b") as model:
        standin.script(cut, times=1)
        standin.script({"text": "Here it is."}, times=1)

        deltas = await deltas_of(Retrying(model, Schedule()))

        first, second = standin.stats.last_requests
    assert deltas[0] == Text("Here it is.")
    assert "reasoning_effort" not in first.body
    assert second.body["reasoning_effort"] == "none"


async def test_a_call_that_was_cut_may_be_asked_for_again() -> None:
    part = {"index": 0, "id": "a", "function": {"name": "echo", "arguments": '{"wo'}}
    async with Standin.serve() as standin, asked(standin) as model:
        standin.script(raw(frame({"tool_calls": [part]}) + frame({}, "length")))

        with pytest.raises(AnswerCut) as raised:
            await deltas_of(model)

    assert not raised.value.is_late


async def test_a_completion_beyond_its_bounds_closes_its_connection_at_once() -> None:
    bounds = CompletionBounds(max_completion_bytes=1000)
    async with Standin.serve() as standin, asked(standin, bounds=bounds) as model:
        standin.script({"tokens": 20_000, "tokens_per_second": 1000})

        with pytest.raises(UpstreamGarbled):
            await deltas_of(model)

        await standin.stats.until(lambda stats: stats.closed_early == 1)


async def test_an_upstream_that_is_not_there_is_unavailable() -> None:
    async with Standin.serve() as standin, asked(standin) as model:
        await standin.stop()

        with pytest.raises(UpstreamUnavailable):
            await deltas_of(model)


async def test_an_upstream_that_takes_no_connection_is_a_connect_timeout() -> None:
    with socket.socket() as full:
        # The queue of one is full, so the kernel does not answer further connections.
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        fillers = [await asyncio.to_thread(_connect, port) for _ in range(2)]
        client = open_client(
            api_key=SecretStr("test"),
            base_url=f"http://127.0.0.1:{port}",
            connect_seconds=0.2,
            max_connections=2,
        )
        model = GroqModel(client, "m", max_completion_tokens=9, first_byte_seconds=5, gap_seconds=5)

        with pytest.raises(ConnectTimeout):
            await deltas_of(model)

        await client.close()
        for filler in fillers:
            filler.close()


def _connect(port: int) -> socket.socket:
    filler = socket.socket()
    filler.setblocking(False)
    filler.connect_ex(("127.0.0.1", port))
    return filler


@pytest.mark.parametrize("kind", ["tool_use_failed", "output_parse_failed"])
async def test_a_failed_generation_is_handed_on(kind: str) -> None:
    generation = '<function=get_weather>{"city": "Paris"}</function>'
    for after_tokens in (None, 1):
        fault: dict[str, Any] = {"kind": kind, "failed_generation": generation}
        if after_tokens:
            fault |= {"after_tokens": after_tokens}
        async with Standin.serve() as standin, asked(standin) as model:
            standin.script({"text": "one two", "fault": fault}, times=1)

            with pytest.raises(ToolUseFailed) as raised:
                await deltas_of(model)

        assert raised.value.failed_generation == generation


@pytest.mark.parametrize(("wanted", "sent"), [(None, 100), (40, 40), (400, 100)])
async def test_a_completion_is_bounded_by_the_tighter_of_two_bounds(
    wanted: int | None, sent: int
) -> None:
    async with Standin.serve() as standin, asked(standin) as model:
        async with aclosing(model.complete(replace(REQUEST, max_tokens=wanted))) as deltas:
            assert [delta async for delta in deltas]

        (seen,) = standin.stats.last_requests

    assert seen.body["max_completion_tokens"] == sent


async def test_what_is_left_of_our_rates_is_told() -> None:
    told: list[Allowance] = []
    async with Standin.serve() as standin, asked(standin, on_allowance=told.append) as model:
        standin.script({"text": "Hello"})
        await deltas_of(model)
        limit = {"kind": "rate_limit", "wait": "7.5s"}
        standin.script({"fault": limit}, times=1)
        with pytest.raises(UpstreamBusy):
            await deltas_of(model)

    assert {allowance.kind for allowance in told[:2]} == {"requests", "tokens"}
    assert all(allowance.limit for allowance in told[:2])
    assert all(allowance.remaining > 0 for allowance in told[:2])
    (used_up,) = [allowance for allowance in told[2:] if allowance.remaining == 0]
    assert (used_up.kind, used_up.reset_seconds) == ("tokens", 7.5)


@pytest.mark.parametrize(
    ("name", "has", "has_not"),
    [
        ("llama-3.3-70b-versatile", set[str](), {"reasoning_effort", "reasoning_format"}),
        ("openai/gpt-oss-120b", {"reasoning_effort"}, {"reasoning_format"}),
        ("qwen/qwen3-32b", {"reasoning_format"}, {"reasoning_effort"}),
    ],
)
async def test_a_model_is_sent_only_the_parameters_that_it_takes(
    name: str, has: set[str], has_not: set[str]
) -> None:
    async with Standin.serve() as standin, asked(standin, name=name) as model:
        standin.script({"text": "Hello"})
        await deltas_of(model)

    sent = set(standin.stats.last_requests[-1].body)
    assert has <= sent
    assert not has_not & sent


async def test_a_rate_limit_says_when_to_come_back() -> None:
    async with Standin.serve() as standin, asked(standin) as model:
        standin.script({"fault": {"kind": "rate_limit", "retry_after": 35}}, times=1)

        with pytest.raises(UpstreamBusy) as raised:
            await deltas_of(model)

    assert raised.value.retry_after == 34.1475


async def test_a_hundred_and_fifty_streams_start_at_once() -> None:
    async with Standin.serve() as standin, asked(standin, max_connections=150) as model:
        standin.script({"text": "Hello", "first_token_after": 1}, times=None)

        streams = await asyncio.gather(*(deltas_of(model) for _ in range(150)))

    assert standin.stats.peak_streams == 150
    assert all(isinstance(deltas[-1], Finish) for deltas in streams)


async def test_cancelled_calls_leave_no_connection_and_no_slot_behind() -> None:
    async with Standin.serve() as standin, asked(standin, max_connections=20) as model:
        await assert_nothing_left_behind(standin, model, rounds=25)


async def assert_nothing_left_behind(standin: Standin, model: GroqModel, *, rounds: int) -> None:
    """Cancel 20 calls per round, half after some time and half after some deltas.

    Afterwards the whole pool must work.
    """
    chance = random.Random(7)  # noqa: S311 - not used for secrets
    standin.script({"tokens": 1000, "tokens_per_second": 500}, times=None)

    async def cancelled_after_a_while() -> None:
        task = asyncio.create_task(deltas_of(model))
        await asyncio.sleep(chance.random() * 0.02)
        task.cancel()
        await asyncio.wait([task])

    async def left_in_mid_stream() -> None:
        async with aclosing(model.complete(REQUEST)) as deltas:
            for _ in range(chance.randint(1, 3)):
                await anext(deltas)

    for _ in range(rounds):
        leavers = (left_in_mid_stream() for _ in range(10))
        await asyncio.gather(*leavers, *(cancelled_after_a_while() for _ in range(10)))

    await standin.stats.until(lambda stats: stats.open_streams == 0)
    assert standin.stats.closed_early >= 10 * rounds
    standin.forget_scripts()
    standin.stats.forget()
    standin.script({"text": "Hello", "first_token_after": 0.5}, times=None)
    streams = await asyncio.gather(*(deltas_of(model) for _ in range(20)))
    assert all(isinstance(deltas[-1], Finish) for deltas in streams)
    assert standin.stats.peak_streams == 20
