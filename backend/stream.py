"""Events as Server-Sent Events: the frames, the response that carries them, its heartbeats.

The response is `sse-starlette`'s, but runs in its own way: by itself the library keeps four tasks
a response (to send, to ping, to hear of a disconnect and of a shutdown) in a task group, and ends
one by cancelling the others. Here the request's own task sends, and the follower's wait is the
clock of the heartbeats; one task hears of a disconnect and has the follower leave, which ends the
stream without a cancellation.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol, cast

import structlog
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import Receive, Scope, Send

from backend.conversation import as_json
from backend.delivery import Delivery
from backend.log import Batch, Follower
from backend.patience import Patience
from backend.telemetry import metrics, tracing

logger = structlog.get_logger()


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


AT_ONCE_BYTES = 16_384
"""What a server takes without waiting for the client, whatever it has taken before: uvicorn waits
at the beginning of a send, and only above 64 KiB.
"""

HEARTBEAT = ServerSentEvent(comment="", sep="\n").encode()

Framing = Callable[[Batch], bytes]
"""Makes what is sent of a batch; nothing, if the client is shown nothing of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """`plain_framing` is made anew for each stream that cannot be resumed."""

    heartbeat_seconds: float
    send_timeout_seconds: float
    plain_framing: Callable[[], Framing]


class EventStream(EventSourceResponse):
    """The response that lets one follower's events out, with comments where it is quiet.

    However it ends, the follower leaves, also when the client was gone before the first
    frame was asked for. `asked_at` is when the query came that it answers.
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
    ) -> None:
        self._batches = follower.batches(quiet_seconds=options.heartbeat_seconds)
        super().__init__(self._batches, headers=headers)
        self._follower = follower
        self._delivery = Delivery(follower, transport="sse", asked_at=asked_at)
        self._patience = Patience(options.send_timeout_seconds)
        self._is_open = True
        self._opening = opening(follower) if is_resumable else b""
        self._framing = Resumable(follower.turn_id) if is_resumable else options.plain_framing()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        outcome = "disconnected"
        watching = asyncio.create_task(self._leave_with_the_client(receive))
        with self._delivery as delivery:
            try:
                await self._stream(send, _past_the_middleware(scope) or send)
            except _Stalled:
                outcome = "slow_client"
                logger.warning("slow_client", turn=self._follower.turn_id)
                delivery.stalled()
                cut(scope)
            finally:
                watching.cancel()
                self._patience.close()
                # Of a stream that came to its end the span has ended too, and stays as it is.
                tracing.stream_ended(outcome)
                self._follower.leave()
            if _has_stalled(scope):
                delivery.stalled()

    async def _stream(self, send: Send, send_on: Send) -> None:
        """The head and the end of the response go out by `send`, what is between by `send_on`."""
        head = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **head})
        if self._opening:
            await self._send(send_on, self._opening)
        async with aclosing(self._batches):
            async for batch in self._batches:
                data = self._framing(batch) if batch.events else _heartbeat()
                if data:
                    await self._send(send if self._ends_with(data) else send_on, data)
                self._delivery.sent(batch.events)
        if self._is_open and self._follower.is_at_end:
            self._is_open = False
            await self._send(send, b"")

    def _ends_with(self, data: bytes) -> bool:
        """The end of the response goes out with the last of its frames, if they are few: behind
        many, it waits until the client takes them.
        """
        self._is_open = not self._follower.is_at_end or len(data) > AT_ONCE_BYTES
        return not self._is_open

    async def _send(self, send: Send, data: bytes) -> None:
        if not self._is_open:
            tracing.stream_ended("read")
        message = {"type": "http.response.body", "body": data, "more_body": self._is_open}
        try:
            with self._patience:
                await send(message)
        except TimeoutError as error:
            raise _Stalled from error

    async def _leave_with_the_client(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._follower.leave()


class _Stalled(Exception):
    """The client does not take what it is sent."""


def cut(scope: Scope) -> None:
    """Close the connection at once, with all that was not read. Only our own server can."""
    if extension := scope.get("extensions", {}).get("lex.cut"):
        extension["cut"]()


def _past_the_middleware(scope: Scope) -> Send | None:
    """Of the nine functions that wrap `send`, none looks at a body, and all are a twentieth of a
    flush. Only our own server has a way past them.
    """
    extension = scope.get("extensions", {}).get("lex.body")
    return None if extension is None else cast(Send, extension["send"])


def _has_stalled(scope: Scope) -> bool:
    """Whether the kernel closed the connection of a client that took nothing."""
    return bool(scope.get("extensions", {}).get("lex.cut", {}).get("has_stalled"))


def opening(follower: Follower) -> bytes:
    """How to come back before there is an event: whoever is cut off right behind this frame
    comes back to where it stood.
    """
    return f"id: {follower.turn_id}-{follower.position}\nretry: {RETRY_MS}\n\n".encode()


class Plain:
    """The standard framing of a stream that cannot be resumed."""

    def __call__(self, batch: Batch) -> bytes:
        return b"".join([frame(event) for event in batch.events])


class Resumable:
    """Each event with its id."""

    def __init__(self, turn_id: str) -> None:
        self._turn_id = turn_id

    def __call__(self, batch: Batch) -> bytes:
        return b"".join(
            [
                f"id: {self._turn_id}-{position}\n".encode() + frame(event)
                for position, event in batch.placed()
            ]
        )


def _heartbeat() -> bytes:
    metrics.heartbeat_sent()
    return HEARTBEAT
