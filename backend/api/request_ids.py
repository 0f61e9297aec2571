"""A name for each request: taken from the client if it is a sane one, given back, and logged.

The trace that it belongs to is given back beside it.
"""

import re
import secrets

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.telemetry import tracing

_SANE = re.compile(r"[A-Za-z0-9._-]{1,128}")


class RequestIds:
    """Plain ASGI: anything that wraps the response body would hide disconnects or buffer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(Headers(scope=scope))

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                if (trace := tracing.traceparent()) is not None:
                    headers["traceresponse"] = trace
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            await self._app(scope, receive, send_named)


def _request_id(headers: Headers) -> str:
    given = headers.get("x-request-id", "")
    return given if _SANE.fullmatch(given) else secrets.token_hex(16)
