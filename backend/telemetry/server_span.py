"""The span of a request, which `opentelemetry-instrumentation-fastapi` makes.

The instrumentation sees the method of a request, where it arrived and its trace, and the status and
the end of the answer. The rest may have in it what a person said, who asks, and ids of sessions.
The route is added when the router has found it: the instrumentation itself would search for it.
"""

import os
from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.trace import StatusCode
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PROBES = frozenset({"/health", "/livez", "/readyz", "/metrics"})
"""The paths that are asked for again and again, and never by a person."""

_SEEN = ("type", "asgi", "method", "scheme", "server")
_UNTRACED = f"({'|'.join(sorted(PROBES))})$"
_TOLD = "lex.told"
"""In a message that is for the instrumentation alone: the client is sent the whole one."""


def instrument(app: FastAPI, provider: Any) -> None:
    """One server span a request. Nobody has asked yet, so the stack may still be built anew."""
    from opentelemetry import propagate
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
    from opentelemetry.metrics import NoOpMeterProvider

    # Read once, when a first application is instrumented. The older names are on their way out.
    os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", "http")
    FastAPIInstrumentor.instrument_app(
        app,
        tracer_provider=provider,
        meter_provider=NoOpMeterProvider(),
        excluded_urls=_UNTRACED,
        exclude_spans=["send", "receive"],
    )
    app.user_middleware.insert(0, _SHOWN)
    carried = propagate.get_global_textmap().fields
    app.middleware_stack = RequestHidden(app.build_middleware_stack(), carried=carried)


def leave_alone(app: FastAPI) -> None:
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

    if _SHOWN in app.user_middleware:
        app.user_middleware.remove(_SHOWN)
    FastAPIInstrumentor.uninstrument_app(app)


class RequestHidden:
    """Plain ASGI, around the instrumentation: what it is not to see goes past it."""

    def __init__(self, app: ASGIApp, *, carried: Iterable[str]) -> None:
        """`carried` are the headers that bring a trace with them."""
        self._app = app
        self._carried = frozenset(name.lower().encode() for name in carried)
        self._app_without_routes = Starlette()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return

        async def send_rest(message: Message) -> None:
            if _TOLD not in message:
                await send(message)

        path = scope["path"]
        shown = {
            **{name: scope[name] for name in _SEEN if name in scope},
            "app": self._app_without_routes,  # there is nothing to search for
            "path": path if path in PROBES else "",
            "headers": [header for header in scope["headers"] if header[0] in self._carried],
            "lex.request": (scope, send),
        }
        await self._app(shown, receive, send_rest)


class RequestShown:
    """Plain ASGI, inside the instrumentation: everything behind it sees the request again, and
    sends to the client past the instrumentation, which is told how the answer begins and ends.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        request, send_on = scope["lex.request"]
        span, is_begun = trace.get_current_span(), False

        async def send_and_tell(message: Message) -> None:
            nonlocal is_begun
            if not is_begun:
                is_begun = True
                _name(span, request)
                status = status_of(message)
                await send({"type": "http.response.start", "status": status, _TOLD: True})
            await send_on(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                await send({"type": "http.response.body", _TOLD: True})

        try:
            try:
                await self._app(request, receive, send_and_tell)
            finally:
                if not is_begun:
                    _name(span, request)
        except Exception as error:
            _fail(span, error, is_begun=is_begun)
            raise


_SHOWN = Middleware(RequestShown)


def _name(span: Any, request: Scope) -> None:
    """A path may have ids of sessions in it; its route has not."""
    if not span.is_recording():
        return
    route = route_of(request)
    if route is None:
        span.set_attribute("url.path", "unknown")
    else:
        span.update_name(f"{span.name} {route}")
        span.set_attributes({"http.route": route, "url.path": route})


def _fail(span: Any, error: Exception, *, is_begun: bool) -> None:
    """And end it: to a span that is open the instrumentation adds what the exception says, which
    may be what somebody said.
    """
    if not span.is_recording():
        return
    if not is_begun:
        span.set_attribute("http.response.status_code", 500)  # as the server answers for us
    span.set_attribute("error.type", type(error).__qualname__)
    span.set_status(StatusCode.ERROR)
    span.end()


def route_of(request: Scope) -> str | None:
    """As it was written, such as `/sessions/{session_id}`; None before it is found."""
    return getattr(request.get("route"), "path", None)


def status_of(message: Message) -> int | None:
    """The status in the message that begins an answer; for a WebSocket, whether it was accepted."""
    match message["type"]:
        case "http.response.start" | "websocket.http.response.start":
            return int(message["status"])
        case "websocket.accept":
            return 101
        case "websocket.close":
            return 403
    return None
