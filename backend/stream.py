"""Events as Server-Sent Events: the frames, the response that carries them, its heartbeats."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import Receive, Scope, Send

from backend.conversation import as_json
from backend.events import Chunk, End, Event, Failure, ToolCalled, ToolOutput, ToolUse
from backend.log import Follower


def frame(event: Event) -> bytes:
    """One event as bytes: LF line ends, `event:` before `data:`, one space after the colon."""
    data = data_of(event)
    if "\n" in data or "\r" in data:
        data = "\ndata: ".join(data.replace("\r\n", "\n").replace("\r", "\n").split("\n"))
    return f"event: {event.event}\ndata: {data}\n\n".encode()


def data_of(event: Event) -> str:
    match event:
        case Chunk(text):
            return text
        case ToolUse(name):
            return name
        case ToolCalled(id=id_, name=name, arguments=arguments):
            return as_json({"id": id_, "name": name, "arguments": arguments})
        case ToolOutput(name=name, output=output, id=id_):
            return as_json({"name": name, "output": output, "id": id_})
        case Failure():
            return as_json(_failure_data(event))
        case End():
            return ""
        case _:
            assert_never(event)


def _failure_data(event: Failure) -> dict[str, Any]:
    data = {"code": event.code, "message": event.message, "retryable": event.retryable}
    return data if event.retry_after is None else {**data, "retry_after": event.retry_after}


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    heartbeat_seconds: float
    send_timeout_seconds: float


class EventStream(EventSourceResponse):
    """The response that lets one follower's events out, with comments as heartbeats.

    However it ends, the follower leaves, also when the client was gone before the first
    frame was asked for.
    """

    def __init__(
        self,
        follower: Follower,
        *,
        headers: Mapping[str, str],
        options: StreamOptions,
    ) -> None:
        super().__init__(
            _frames(follower),
            headers=headers,
            sep="\n",
            ping=options.heartbeat_seconds,
            ping_message_factory=_heartbeat,
            send_timeout=options.send_timeout_seconds,
        )
        self._follower = follower

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._follower.leave()


async def _frames(follower: Follower) -> AsyncGenerator[bytes, None]:
    async for batch in follower.batches():
        yield _joined(batch)


def _joined(batch: Sequence[Event]) -> bytes:
    return b"".join([frame(event) for event in batch])


def _heartbeat() -> ServerSentEvent:
    return ServerSentEvent(comment="", sep="\n")
