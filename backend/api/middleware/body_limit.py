"""The largest request body, and the longest that it may take to come.

Bytes are counted as they are read, since an announced length may be a lie. Nothing is decoded: a
compressed body counts as it comes. Once the answer has begun, the rest of the body is the server's.
"""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """Plain ASGI. FastAPI's `max_body_size` cannot take the place of `max_bytes`: it stands outside
    all middleware, and replaces any answer to a request whose `Content-Length` is too large by its
    own 413. That one is plain text instead of problem details, and lacks the headers that every
    answer has (starlette's `RequestBodyLimitResponder.send_with_limit`).
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int, timeout_seconds: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._timeout_seconds = timeout_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(scope, receive, self._max_bytes, self._timeout_seconds)
        await self._app(scope, body.receive, body.noticing(send))


class _Body:
    """Raises the one kind of exception that FastAPI lets through while it reads a body."""

    def __init__(
        self, scope: Scope, receive: Receive, max_bytes: int, timeout_seconds: float
    ) -> None:
        self._receive = receive
        self._max_bytes = max_bytes
        self._timeout_seconds = timeout_seconds
        self._deadline: float | None = None
        length = Headers(scope=scope).get("content-length", "")
        self._announced = int(length) if length.isascii() and length.isdecimal() else 0
        self._read = 0
        self._is_over = False
        """The body was read to its end, or the answer has begun."""

    async def receive(self) -> Message:
        if self._is_over:
            return await self._receive()
        self._check(self._announced)
        message = await self._in_time()
        if not self._is_over:  # a disconnect, if the answer has begun meanwhile
            self._read += len(message.get("body", b""))
            self._check(self._read)
        self._is_over = self._is_over or not message.get("more_body", False)
        return message

    def noticing(self, send: Send) -> Callable[[Message], Awaitable[None]]:
        async def send_noticed(message: Message) -> None:
            self._is_over = True
            await send(message)

        return send_noticed

    async def _in_time(self) -> Message:
        loop = asyncio.get_running_loop()
        if self._deadline is None:
            self._deadline = loop.time() + self._timeout_seconds
        try:
            async with asyncio.timeout_at(self._deadline):
                return await self._receive()
        except TimeoutError:
            # The answer may have begun during this wait. Then it is one for a disconnect, and lasts
            # as long as the stream.
            if self._is_over:
                return await self._receive()
            raise HTTPException(
                408, "The request body took too long.", headers={"Connection": "close"}
            ) from None

    def _check(self, size: int) -> None:
        if size > self._max_bytes:
            raise HTTPException(413, "The request body is too large.")
