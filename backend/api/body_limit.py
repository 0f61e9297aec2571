"""The largest request body, counted while it is read: a length that is told may be a lie."""

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """Plain ASGI. Starlette's own limit answers in plain text instead of problem details."""

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        told = Headers(scope=scope).get("content-length", "")
        size = int(told) if told.isdecimal() else 0
        read = 0

        async def receive_counted() -> Message:
            nonlocal read
            if size <= self._max_bytes:
                message = await receive()
                read += len(message.get("body", b""))
                if read <= self._max_bytes:
                    return message
            # The one kind of exception that FastAPI lets through while it reads a body.
            raise HTTPException(413, "The request body is too large.")

        await self._app(scope, receive_counted, send)
