"""Events as Server-Sent Events: the frames, the response that carries them, its heartbeats."""

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import AppStatus, SendTimeoutError
from starlette.types import Receive, Scope, Send

from backend.conversation import as_json
from backend.delivery import Delivery
from backend.log import Follower
from backend.telemetry import metrics, tracing

logger = structlog.get_logger()

# By itself the library cuts every stream half a second after SIGTERM.
AppStatus.enable_automatic_graceful_drain = False


class Framed(Protocol):
    """What a frame is made of: an event, or what a client is shown in its place."""

    @property
    def event(self) -> str: ...

    @property
    def data(self) -> str | dict[str, Any]: ...


def frame(event: Framed) -> bytes:
    """One event as bytes: LF line ends, `event:` before `data:`, one space after the colon."""
    data = event.data if isinstance(event.data, str) else as_json(event.data)
    if "\n" in data or "\r" in data:
        data = "\ndata: ".join(data.replace("\r\n", "\n").replace("\r", "\n").split("\n"))
    return f"event: {event.event}\ndata: {data}\n\n".encode()


RETRY_MS = 1000
"""After so long a browser whose connection broke comes back."""


Frames = Callable[[Follower, Delivery], AsyncGenerator[bytes, None]]
"""Reads a follower to its end, and yields what is sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    heartbeat_seconds: float
    send_timeout_seconds: float


class EventStream(EventSourceResponse):
    """The response that lets one follower's events out, with comments as heartbeats.

    However it ends, the follower leaves, also when the client was gone before the first
    frame was asked for. `asked_at` is when the query came that it answers; `frames` are for
    clients that do not know the standard ones.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        follower: Follower,
        *,
        headers: Mapping[str, str],
        options: StreamOptions,
        is_resumable: bool = False,
        asked_at: float | None = None,
        frames: Frames | None = None,
    ) -> None:
        self._delivery = Delivery(follower, transport="sse", asked_at=asked_at)
        frames = frames or (_resumable_frames if is_resumable else _frames)
        super().__init__(
            frames(follower, self._delivery),
            headers=headers,
            sep="\n",
            ping=options.heartbeat_seconds,
            ping_message_factory=_heartbeat,
            send_timeout=options.send_timeout_seconds,
        )
        self._follower = follower

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        outcome = "disconnected"
        with self._delivery as delivery:
            try:
                await super().__call__(scope, receive, send)
            except SendTimeoutError:
                outcome = "slow_client"
                logger.warning("slow_client", turn=self._follower.turn_id)
                delivery.stalled()
                cut(scope)
            finally:
                # Of a stream that came to its end the span has ended too, and stays as it is.
                tracing.stream_ended(outcome)
                self._follower.leave()
            if _has_stalled(scope):
                delivery.stalled()


def cut(scope: Scope) -> None:
    """Close the connection at once, with all that was not read. Only our own server can."""
    if extension := scope.get("extensions", {}).get("lex.cut"):
        extension["cut"]()


def _has_stalled(scope: Scope) -> bool:
    """Whether the kernel closed the connection of a client that took nothing."""
    return bool(scope.get("extensions", {}).get("lex.cut", {}).get("has_stalled"))


async def _frames(follower: Follower, delivery: Delivery) -> AsyncGenerator[bytes, None]:
    async for batch in follower.batches():
        yield b"".join([frame(event) for event in batch.events])
        delivery.sent(batch.events)
    tracing.stream_ended("read")


async def _resumable_frames(follower: Follower, delivery: Delivery) -> AsyncGenerator[bytes, None]:
    """Each event with its id, after a frame that says how to come back before there is one."""
    turn_id = follower.turn_id
    # Whoever is cut off right behind it comes back to where it stood.
    yield f"id: {turn_id}-{follower.position}\nretry: {RETRY_MS}\n\n".encode()
    async for batch in follower.batches():
        yield b"".join(
            [
                f"id: {turn_id}-{position}\n".encode() + frame(event)
                for position, event in batch.placed()
            ]
        )
        delivery.sent(batch.events)
    tracing.stream_ended("read")


def _heartbeat() -> ServerSentEvent:
    metrics.heartbeat_sent()
    return ServerSentEvent(comment="", sep="\n")
