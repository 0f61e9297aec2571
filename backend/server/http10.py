"""Responses to HTTP/1.0, which has no chunked encoding: without a length, the close ends them."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

App = Callable[[Any, Any, Any], Awaitable[None]]

OF_THE_CONNECTION = (b"connection", b"transfer-encoding")
"""Headers that the application must not set, because only the server knows them."""


class CloseDelimited:
    """ASGI middleware for one HTTP/1.0 request."""

    def __init__(self, app: App, cycle: RequestResponseCycle) -> None:
        self._app = app
        self._cycle = cycle
        self._has_length = True

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG002 - replaced by `_send`
        await self._app(scope, receive, self._send)

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": _without_connection(message.get("headers", ()))}
            self._begin(message["headers"])
        elif not self._has_length:
            # uvicorn believes that a length was announced, and refuses bytes beyond it. So each
            # part is announced just before it is sent.
            self._cycle.expected_content_length = len(message.get("body", b""))
        await self._cycle.send(message)

    def _begin(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self._has_length = any(name == b"content-length" for name, _ in headers)
        if not self._has_length:
            self._cycle.chunked_encoding = False


def _without_connection(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    named = ((name.lower(), value) for name, value in headers)
    return [header for header in named if header[0] not in OF_THE_CONNECTION]
