"""Answers to HTTP/1.0, which knows no chunks: without a length they end with their connection."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

App = Callable[[Any, Any, Any], Awaitable[None]]

OF_THE_CONNECTION = (b"connection", b"transfer-encoding")
"""The server alone says these: that it closes, and that there are no chunks."""


class CloseDelimited:
    """Plain ASGI around the application, for one request."""

    def __init__(self, app: App, cycle: RequestResponseCycle) -> None:
        self._app = app
        self._cycle = cycle
        self._has_length = True

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG002 - ours is around it
        await self._app(scope, receive, self._send)

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": _without_connection(message.get("headers", ()))}
            self._begin(message["headers"])
        elif not self._has_length:
            # uvicorn sends what it believes to be the rest as it is.
            self._cycle.expected_content_length = len(message.get("body", b""))
        await self._cycle.send(message)

    def _begin(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self._has_length = any(name == b"content-length" for name, _ in headers)
        if not self._has_length:
            self._cycle.chunked_encoding = False


def _without_connection(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    named = ((name.lower(), value) for name, value in headers)
    return [header for header in named if header[0] not in OF_THE_CONNECTION]
