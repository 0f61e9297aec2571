"""The response that carries a stream: its frames, its heartbeats, its end.

The response is `sse-starlette`'s, but runs in its own way: by itself the library keeps four tasks
a response (to send, to ping, to hear of a disconnect and of a shutdown) in a task group, and ends
one by cancelling the others. Here the request's own task sends, and the follower's wait is the
clock of the heartbeats; one task hears of a disconnect and has the follower leave, which ends the
stream without a cancellation.
"""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import cast

import structlog
from sse_starlette import EventSourceResponse
from starlette.types import Receive, Scope, Send

from backend.aio.timeout import ReusableTimeout
from backend.api.delivery_metrics import Delivery
from backend.api.stream_protocol import Framing
from backend.telemetry import metrics, tracing
from backend.turns.event_log import Follower

logger = structlog.get_logger()


AT_ONCE_BYTES = 16_384
"""So much fits into a server's buffer without waiting for the client, even behind earlier bytes:
uvicorn waits at the beginning of a send, and only above 64 KiB.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    heartbeat_seconds: float
    send_timeout_seconds: float


class EventStream(EventSourceResponse):
    """The response that lets one follower's events out, with comments where it is quiet.

    However it ends, the follower leaves, also when the client was gone before the first
    frame was asked for. `asked_at` is when the query came that it answers.
    """

    def __init__(
        self,
        follower: Follower,
        *,
        framing: Framing,
        headers: Mapping[str, str],
        options: StreamOptions,
        asked_at: float | None = None,
    ) -> None:
        self._batches = follower.batches(quiet_seconds=options.heartbeat_seconds)
        headers = {**headers, **framing.headers}
        super().__init__(self._batches, headers=headers, media_type=framing.media_type)
        # The library's `keep-alive`: only the server knows whether the connection stays open.
        del self.headers["Connection"]
        self._follower = follower
        self._delivery = Delivery(follower, transport="sse", asked_at=asked_at)
        self._timeout = ReusableTimeout(options.send_timeout_seconds)
        self._framing = framing

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
                self._timeout.close()
                # Does nothing to the span of a stream that came to its end.
                tracing.stream_ended(outcome)
                self._follower.leave()
            if _has_stalled(scope):
                delivery.stalled()

    async def _stream(self, send: Send, send_on: Send) -> None:
        """The head and the end of the response go out by `send`, what is between by `send_on`."""
        head = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **head})
        if opening := self._framing.opening():
            await self._send(send_on, opening)
        is_last = False
        async with aclosing(self._batches):
            async for batch in self._batches:
                data = b"".join(self._framing.frames(batch)) if batch.events else self._heartbeat()
                # Behind many bytes the end of the response waits until the client takes them.
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
            with self._timeout:
                await send(message)
        except TimeoutError as error:
            raise _Stalled from error

    def _heartbeat(self) -> bytes:
        if self._framing.heartbeat:
            metrics.heartbeat_sent()
        return self._framing.heartbeat

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
    """Eight functions wrap `send`, and none of them looks at a body. Together they cost a twentieth
    of a flush. Only our own server has a way past them.
    """
    extension = scope.get("extensions", {}).get("lex.body")
    return None if extension is None else cast(Send, extension["send"])


def _has_stalled(scope: Scope) -> bool:
    """Whether the kernel closed the connection of a client that took nothing."""
    return bool(scope.get("extensions", {}).get("lex.cut", {}).get("has_stalled"))
