"""The bytes of a stream, and how the response sends them."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from starlette.types import Message
from structlog.testing import capture_logs

from backend.api.sse.plain import Plain, frame
from backend.api.sse.response import EventStream, StreamOptions
from backend.api.stream_protocol import Framing, OpenFraming
from backend.domain.events import (
    Chunk,
    End,
    Event,
    Failure,
    TokenUsage,
    ToolCalled,
    ToolOutput,
    ToolUse,
    TurnOutcome,
)
from backend.turns.event_log import Batch, EventLog


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (ToolUse("get_weather"), "event: tool_use\ndata: get_weather\n\n"),
        (
            ToolCalled("call_1", "get_weather", {"city": "New York"}),
            'event: tool_call\ndata: {"id": "call_1", "name": "get_weather", '
            '"arguments": {"city": "New York"}}\n\n',
        ),
        (
            ToolOutput("get_weather", {"temperature": "34°C", "city": "New York"}, "call_1"),
            'event: tool_output\ndata: {"name": "get_weather", "output": '
            '{"temperature": "34°C", "city": "New York"}, "id": "call_1"}\n\n',
        ),
        (Chunk(" Some text"), "event: chunk\ndata:  Some text\n\n"),
        (
            Failure("upstream_unavailable", "No.", retryable=True, retry_after=12),
            'event: error\ndata: {"code": "upstream_unavailable", "message": "No.", '
            '"retryable": true, "retry_after": 12}\n\n',
        ),
        (
            Failure("too_many_rounds", "No.", retryable=False),
            'event: error\ndata: {"code": "too_many_rounds", "message": "No.", '
            '"retryable": false}\n\n',
        ),
        (
            TurnOutcome("completed", "stop", "a-model", 2, TokenUsage(110, 12, 122)),
            'event: outcome\ndata: {"outcome": "completed", "finish_reason": "stop", '
            '"model": "a-model", "rounds": 2, "usage": {"prompt_tokens": 110, '
            '"completion_tokens": 12, "total_tokens": 122}}\n\n',
        ),
        (
            TurnOutcome("failed", None, None, 1, TokenUsage(0, 0, 0)),
            'event: outcome\ndata: {"outcome": "failed", "finish_reason": null, "model": null, '
            '"rounds": 1, "usage": {"prompt_tokens": 0, "completion_tokens": 0, '
            '"total_tokens": 0}}\n\n',
        ),
        (End(), "event: end\ndata: \n\n"),
    ],
    ids=lambda value: value.event if not isinstance(value, str) else "",
)
def test_each_event_has_its_frame(event: Event, expected: str) -> None:
    assert frame(event) == expected.encode()


def parse(stream: str) -> list[tuple[str, str]]:
    """Parse like the HTML standard: https://html.spec.whatwg.org/multipage/server-sent-events.html"""
    events: list[tuple[str, str]] = []
    name, data = "", list[str]()
    for line in stream.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                events.append((name, "\n".join(data)))
            name, data = "", []
        elif field == "event":
            name = value
        elif field == "data":
            data.append(value)
    return events


@given(st.text())
def test_no_text_can_forge_a_frame(text: str) -> None:
    received = parse(frame(Chunk(text)).decode())

    assert received == [("chunk", text.replace("\r\n", "\n").replace("\r", "\n"))]


@given(st.dictionaries(st.text(), st.text(), max_size=3))
def test_no_output_can_forge_a_frame(output: dict[str, str]) -> None:
    assert len(parse(frame(ToolOutput("x", dict(output), "1")).decode())) == 1


class Ends:
    """Records what is sent through the middleware, and what goes past it."""

    def __init__(self) -> None:
        self.wrapped: list[Message] = []
        self.direct: list[Message] = []

    async def send(self, message: Message) -> None:
        self.wrapped.append(message)

    async def send_body(self, message: Message) -> None:
        self.direct.append(message)

    async def until(self, messages: int) -> None:
        while len(self.wrapped) + len(self.direct) < messages:
            await asyncio.sleep(0)

    async def receive(self) -> Message:
        await asyncio.get_running_loop().create_future()
        raise AssertionError


async def streamed(
    log: EventLog,
    ends: Ends,
    *,
    framing: OpenFraming = Plain,
    extensions: Mapping[str, object] | None = None,
) -> None:
    options = StreamOptions(heartbeat_seconds=60, send_timeout_seconds=60)
    follower = log.follow()
    stream = EventStream(follower, framing=framing(follower), headers={}, options=options)
    scope = {"type": "http", "extensions": extensions or {}}
    sending = asyncio.create_task(stream(scope, ends.receive, ends.send))
    events: tuple[Event, ...] = (Chunk("one"), Chunk("two"), End())
    for number, event in enumerate(events, start=1):
        await ends.until(number)
        log.append(event)
    log.close()
    await sending


async def test_only_the_head_and_the_end_of_a_stream_pass_what_wraps_it() -> None:
    ends = Ends()

    await streamed(EventLog("t1"), ends, extensions={"lex.body": {"send": ends.send_body}})

    start, end = ends.wrapped
    assert start["type"] == "http.response.start"
    assert (end["body"], end["more_body"]) == (frame(End()), False)
    assert [message["body"] for message in ends.direct] == [
        frame(Chunk("one")),
        frame(Chunk("two")),
    ]
    assert all(message["more_body"] for message in ends.direct)


async def test_under_a_server_that_knows_no_other_way_all_of_it_does() -> None:
    ends = Ends()

    await streamed(EventLog("t1"), ends)

    assert b"".join(message.get("body", b"") for message in ends.wrapped) == b"".join(
        map(frame, (Chunk("one"), Chunk("two"), End()))
    )
    assert ends.wrapped[-1]["more_body"] is False


@pytest.mark.parametrize("is_told", [True, False])
async def test_a_stream_ends_when_its_client_leaves(is_told: bool) -> None:
    """The server calls back, unless it is another one or the body is not read to its end."""
    calls: list[Callable[[], None]] = []
    left = asyncio.Event()

    def notify(call: Callable[[], None]) -> bool:
        calls.append(call)
        return is_told

    async def receive() -> Message:
        assert not is_told
        await left.wait()
        return {"type": "http.disconnect"}

    follower = EventLog("t1").follow()
    options = StreamOptions(heartbeat_seconds=60, send_timeout_seconds=60)
    stream = EventStream(follower, framing=Plain(follower), headers={}, options=options)
    ends = Ends()
    scope = {"type": "http", "extensions": {"lex.leaving": {"notify": notify}}}
    sending = asyncio.create_task(stream(scope, receive, ends.send))
    await ends.until(1)

    assert not sending.done()
    left.set()
    if is_told:
        calls[0]()

    await sending
    assert [message["type"] for message in ends.wrapped] == ["http.response.start"]


@pytest.mark.parametrize("has_stalled", [False, True])
async def test_a_client_was_slow_if_the_kernel_closed_its_connection(has_stalled: bool) -> None:
    before = REGISTRY.get_sample_value("lex_slow_clients_total") or 0.0

    await streamed(EventLog("t1"), Ends(), extensions={"lex.cut": {"has_stalled": has_stalled}})

    after = REGISTRY.get_sample_value("lex_slow_clients_total") or 0.0
    assert after - before == has_stalled


@pytest.mark.parametrize("kernel_was_first", [False, True])
async def test_a_client_that_two_clocks_find_slow_is_reported_once(kernel_was_first: bool) -> None:
    """The server reports it if the kernel's clock is first, even in the same tick."""
    log = EventLog("t1")
    connection: dict[str, object] = {"cut": lambda: None, "has_stalled": False}

    async def send(_: Message) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            connection["has_stalled"] = kernel_was_first

    follower = log.follow()
    options = StreamOptions(heartbeat_seconds=60, send_timeout_seconds=0.01)
    stream = EventStream(follower, framing=Plain(follower), headers={}, options=options)
    scope = {"type": "http", "extensions": {"lex.cut": connection, "lex.body": {"send": send}}}
    log.append(Chunk("one"))
    with capture_logs() as lines:
        await stream(scope, Ends().receive, Ends().send)

    assert [line["event"] for line in lines] == ["slow_client"] * (not kernel_was_first)


class Parts(Framing):
    """A protocol that numbers its parts, and adds frames before, between and after the events."""

    media_type = "application/x-parts"
    headers: ClassVar[Mapping[str, str]] = {"X-Parts": "v1"}
    text_id = 0

    def opening(self) -> bytes:
        return f"start {self._follower.turn_id};".encode()

    def frames(self, batch: Batch) -> list[bytes]:
        return [part for event in batch.events for part in self._parts(event)]

    def _parts(self, event: Event) -> Iterator[bytes]:
        match event:
            case Chunk(text):
                self.text_id += 1
                yield f"text-start {self.text_id};".encode()
                yield f"{text};".encode()
            case End():
                yield b"text-end;"
                yield b"[DONE]"


async def test_another_protocol_is_another_framing() -> None:
    ends = Ends()

    await streamed(EventLog("t1"), ends, framing=Parts)

    head, *bodies = ends.wrapped
    assert (b"content-type", b"application/x-parts") in head["headers"]
    assert (b"x-parts", b"v1") in head["headers"]
    assert b"".join(message["body"] for message in bodies) == (
        b"start t1;text-start 1;one;text-start 2;two;text-end;[DONE]"
    )
