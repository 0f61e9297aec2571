"""The HTTP response that sends a stream: its frames, its heartbeats, its end.

The response is that of `sse-starlette`, but runs differently. The library needs four tasks for each
response (sending, pings, disconnect, shutdown), and ends a stream by cancelling them. Here the
request's own task sends, and the follower's wait times the heartbeats. Our server calls back when
the client leaves, and the follower leaves too, which ends the stream without a cancellation. Under
a foreign server one more task waits for the disconnect.
"""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import cast

import structlog
from sse_starlette import EventSourceResponse
from starlette.types import Receive, Scope, Send

from backend.aio.timeout import ReusableTimeout
from backend.api.delivery_metrics import Delivery
from backend.api.stream_protocol import Framing
from backend.domain.events import Transport
from backend.telemetry import metrics, tracing
from backend.turns.event_log import Follower

logger = structlog.get_logger()


AT_ONCE_BYTES = 16_384
"""Bytes that a server buffers without waiting for the client, even after earlier unread ones.

uvicorn only waits at the start of a send, and only if its buffer has more than 64 KiB.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    heartbeat_seconds: float
    send_timeout_seconds: float


class EventStream(EventSourceResponse):
    """Sends one follower's events, and heartbeat comments when it is idle.

    The follower leaves however the response ends, even if the client has gone before the first
    frame. `is_asker` is False for a resume.
    """

    def __init__(
        self,
        follower: Follower,
        *,
        framing: Framing,
        headers: Mapping[str, str],
        options: StreamOptions,
        transport: Transport = "sse",
        is_asker: bool = False,
    ) -> None:
        self._batches = follower.batches(quiet_seconds=options.heartbeat_seconds)
        headers = {**headers, **framing.headers}
        super().__init__(self._batches, headers=headers, media_type=framing.media_type)
        # The library sets `keep-alive`, but only the server knows whether the connection stays
        # open.
        del self.headers["Connection"]
        self._follower = follower
        self._delivery = Delivery(follower, transport=transport, is_asker=is_asker)
        self._timeout = ReusableTimeout(options.send_timeout_seconds)
        self._framing = framing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_slow = False
        watching = self._watch_the_client(scope, receive)
        with self._delivery as delivery:
            try:
                await self._stream(send, _past_the_middleware(scope) or send)
            except _Stalled:
                is_slow = True
                # Both clocks wait equally long. The server has said it if the kernel's was first.
                if not _has_stalled(scope):
                    logger.warning("slow_client", turn=self._follower.turn_id)
                cut(scope)
            finally:
                is_slow = is_slow or _has_stalled(scope)
                if watching is not None:
                    watching.cancel()
                self._timeout.close()
                # Has no effect if the stream was read to its end: its span has ended already.
                tracing.stream_ended("slow_client" if is_slow else "disconnected")
                self._follower.leave()
            if is_slow:
                delivery.stalled()

    async def _stream(self, send: Send, send_on: Send) -> None:
        """Send the head and the end of the response by `send`, everything between by `send_on`."""
        head = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **head})
        if opening := self._framing.opening():
            await self._send(send_on, opening)
        is_last = False
        async with aclosing(self._batches):
            async for batch in self._batches:
                data = b"".join(self._framing.frames(batch)) if batch.events else self._heartbeat()
                # The last data carries the end of the response if it fits the server's buffer.
                # Otherwise the end must wait for the client, and is sent separately below.
                is_last = self._follower.is_at_end and 0 < len(data) <= AT_ONCE_BYTES
                if data:
                    await self._send(send if is_last else send_on, data, is_last=is_last)
                self._delivery.sent(batch.events)
        if self._follower.is_at_end and not is_last:
            await self._send(send, b"", is_last=True)

    async def _send(self, send: Send, data: bytes, *, is_last: bool = False) -> None:
        if is_last:
            tracing.stream_ended("read")
        message = {"type": "http.response.body", "body": data, "more_body": not is_last}
        try:
            with self._delivery.sending, self._timeout:
                await send(message)
        except TimeoutError as error:
            raise _Stalled from error

    def _heartbeat(self) -> bytes:
        if self._framing.heartbeat:
            metrics.heartbeat_sent()
        return self._framing.heartbeat

    def _watch_the_client(self, scope: Scope, receive: Receive) -> asyncio.Task[None] | None:
        """Make the follower leave with the client. Return the task that waits for it, if any."""
        leave = partial(copy_context().run, self._follower.leave)
        extension = scope.get("extensions", {}).get("lex.leaving")
        if extension is not None and extension["notify"](leave):
            return None
        return asyncio.create_task(self._leave_with_the_client(receive))

    async def _leave_with_the_client(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._follower.leave()


class _Stalled(Exception):
    """The client has read nothing for `send_timeout_seconds`."""


def cut(scope: Scope) -> None:
    """Close the connection at once and drop unread data. Does nothing under a foreign server."""
    if extension := scope.get("extensions", {}).get("lex.cut"):
        extension["cut"]()


def _past_the_middleware(scope: Scope) -> Send | None:
    """Return the server's own `send`; None under a foreign server.

    Eight middlewares wrap `send` and take a twentieth of a flush's time, but none looks at bodies.
    """
    extension = scope.get("extensions", {}).get("lex.body")
    return None if extension is None else cast(Send, extension["send"])


def _has_stalled(scope: Scope) -> bool:
    """Whether the kernel closed the connection because the client did not read."""
    return bool(scope.get("extensions", {}).get("lex.cut", {}).get("has_stalled"))
