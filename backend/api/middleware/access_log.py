"""Give each request an id and an arrival time, and write one log line when it has ended.

The id is that of the client's `X-Request-Id` if it is well-formed. The response returns it, and
the trace as `traceresponse`. Probes and scrapes are not logged, because there are too many of them.
"""

import logging
import re
import secrets
import time

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.api import refusals
from backend.api.refusals import Refused
from backend.telemetry import identity, tracing
from backend.telemetry.server_span import PROBES, route_of, status_of

logger = structlog.get_logger()

_SANE = re.compile(r"[A-Za-z0-9._-]{1,128}")


class AccessLog:
    """Logs the route, but neither the path, which contains session ids, nor the query string, which
    contains the customer's words.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        arrived_at = time.perf_counter()
        named = {}
        if scope["type"] == "http":
            scope["state"]["arrived_at"] = arrived_at
            named = {"request_id": _request_id(Headers(scope=scope))}
        status: int | None = None
        identity.begin()
        refused = refusals.begin()

        async def send_noticed(message: Message) -> None:
            nonlocal status
            status = status or status_of(message)
            if message["type"] == "http.response.start":
                _add_names(MutableHeaders(scope=message), **named)
            await send(message)

        with structlog.contextvars.bound_contextvars(**named):
            try:
                await self._app(scope, receive, send_noticed)
            except Exception:  # of any type: it goes on, and the line only names it
                refused.broke()
                raise
            finally:
                refused.answered(status)
                _log(scope, status, refused, seconds=time.perf_counter() - arrived_at)


def _log(scope: Scope, status: int | None, refused: Refused, *, seconds: float) -> None:
    if scope["path"] in PROBES:
        return
    why = {"error": refused.error, "limit": refused.limit} if refused.error else {}
    logger.log(
        logging.WARNING if refused.is_failure else logging.INFO,
        "request_finished",
        method=scope.get("method", "WEBSOCKET"),
        route=route_of(scope),
        status=status,
        **why,
        seconds=round(seconds, 4),
    )


def _request_id(headers: Headers) -> str:
    given = headers.get("x-request-id", "")
    return given if _SANE.fullmatch(given) else secrets.token_hex(16)


def _add_names(headers: MutableHeaders, *, request_id: str) -> None:
    headers["X-Request-Id"] = request_id
    if (trace := tracing.traceparent()) is not None:
        headers["traceresponse"] = trace
