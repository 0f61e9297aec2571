"""The largest request body, and the longest that may take to come.

It is counted while it is read: a length that is told may be a lie. Nothing is decoded, so a
body that is packed is as large as it comes. What comes when the answer has begun concerns the
server alone.
"""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """Plain ASGI. Starlette's own limit answers in plain text instead of problem details."""

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
        told = Headers(scope=scope).get("content-length", "")
        self._told = int(told) if told.isascii() and told.isdecimal() else 0
        self._read = 0
        self._is_over = False
        """All of it was read, or nobody waits for it any more."""

    async def receive(self) -> Message:
        if self._is_over:
            return await self._receive()
        self._check(self._told)
        message = await self._in_time()
        if not self._is_over:
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
            if self._is_over:
                return await self._receive()
            raise HTTPException(
                408, "The request body took too long.", headers={"Connection": "close"}
            ) from None

    def _check(self, size: int) -> None:
        if size > self._max_bytes:
            raise HTTPException(413, "The request body is too large.")
