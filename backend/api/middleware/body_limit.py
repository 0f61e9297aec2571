"""Limit the size of a request body, and the time that it may take to arrive.

Bytes are counted as they are read, because `Content-Length` may be wrong. Compressed bodies count
by their compressed size. Once the response has started, the rest of the body is left to the server.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """Answers 413 for a body above `max_bytes`, and 408 for one that takes too long.

    `larger` has the paths where a body may have more bytes.

    FastAPI's `max_body_size` cannot replace it. It runs outside all middleware, and answers a too
    large `Content-Length` itself (starlette's `RequestBodyLimitResponder.send_with_limit`): with
    plain text instead of problem details, and without our headers.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_bytes: int,
        timeout_seconds: float,
        larger: Mapping[str, int] = {},
    ) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._larger = larger
        self._timeout_seconds = timeout_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        max_bytes = max(self._max_bytes, self._larger.get(scope["path"], 0))
        body = _Body(scope, receive, max_bytes, self._timeout_seconds)
        await self._app(scope, body.receive, body.noticing(send))


class _Body:
    """The body of one request. Its errors are HTTPExceptions, because FastAPI turns all others into
    a 400 while it reads a body.
    """

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
        """Whether the body was read to its end, or the response has started."""

    async def receive(self) -> Message:
        if self._is_over:
            return await self._receive()
        self._check(self._announced)
        message = await self._in_time()
        if not self._is_over:  # if the response has started meanwhile, this is a disconnect
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
            # If the response has started during this wait, the caller now waits for the disconnect,
            # which may take as long as the stream.
            if self._is_over:
                return await self._receive()
            raise HTTPException(
                408,
                f"The request body did not arrive within {self._timeout_seconds:g} s.",
                headers={"Connection": "close"},
            ) from None

    def _check(self, size: int) -> None:
        if size > self._max_bytes:
            raise HTTPException(413, f"The request body must not exceed {self._max_bytes} bytes.")
