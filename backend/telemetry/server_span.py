"""The server span of a request, made by `opentelemetry-instrumentation-fastapi`.

The instrumentation sees only the method, scheme, server and trace headers of a request, and the
status and end of its response. Paths, query strings, other headers and bodies may contain
questions, user ids or session ids, so they pass around it: `RequestHidden` outside and
`RequestShown` inside. The route is added when the router has matched it. Left to itself, the
instrumentation would search all routes for it.
"""

import os
from collections.abc import Iterable, Sequence
from typing import Any

from fastapi import FastAPI
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanContext, StatusCode
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.telemetry import genai_names as names

PROBES = frozenset({"/health", "/livez", "/readyz", "/metrics"})
"""Paths that machines poll. They get no span."""

_SEEN = ("type", "asgi", "method", "scheme", "server")
_UNTRACED = f"({'|'.join(sorted(PROBES))})$"
_TOLD = "lex.told"
"""Marks messages for the instrumentation only. The client gets the full message instead."""


def instrument(app: FastAPI, provider: Any, *, follows: bool = False) -> None:
    """Record one server span per request. Call it before the first request.

    With `follows`, a span continues the trace that the request carries. Otherwise it begins a trace
    with a link to that one: a stranger must not choose a trace, or whether it is sampled. It
    rebuilds the middleware stack.
    """
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
    from opentelemetry.metrics import NoOpMeterProvider

    # The instrumentation reads it once, for the first application. Without it, it would use the
    # deprecated attribute names.
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
    app.middleware_stack = RequestHidden(
        app.build_middleware_stack(), carried=carried, follows=follows
    )


def leave_alone(app: FastAPI) -> None:
    """Undo `instrument`."""
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

    if _SHOWN in app.user_middleware:
        app.user_middleware.remove(_SHOWN)
    FastAPIInstrumentor.uninstrument_app(app)


class RequestHidden:
    """ASGI middleware outside the instrumentation. It hides most of the request from it."""

    def __init__(self, app: ASGIApp, *, carried: Iterable[str], follows: bool) -> None:
        """`carried` names the headers that carry a trace; with `follows`, they are shown."""
        self._app = app
        self._carried = frozenset(name.lower().encode() for name in carried)
        self._follows = follows
        self._app_without_routes = Starlette()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return

        async def send_rest(message: Message) -> None:
            if _TOLD not in message:
                await send(message)

        path = scope["path"]
        carried = [header for header in scope["headers"] if header[0] in self._carried]
        shown = {
            **{name: scope[name] for name in _SEEN if name in scope},
            "app": self._app_without_routes,  # so that the instrumentation searches no routes
            "path": path if path in PROBES else "",
            "headers": carried if self._follows else [],
            "lex.request": (scope, send),
            "lex.linked": None if self._follows else _trace_in(carried),
        }
        await self._app(shown, receive, send_rest)


class RequestShown:
    """ASGI middleware inside the instrumentation. It restores the request for the application.

    Responses go directly to the client. The instrumentation is only told the status and the end.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        request, send_on = scope["lex.request"]
        span, is_begun = trace.get_current_span(), False
        if scope["lex.linked"] is not None:
            span.add_link(scope["lex.linked"])

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
        except Exception as error:  # of any type: it goes on, and the span only notes it
            _fail(span, error, is_begun=is_begun)
            raise


_SHOWN = Middleware(RequestShown)


def _trace_in(headers: Sequence[tuple[bytes, bytes]]) -> SpanContext | None:
    """The span that the headers name, if they name one."""
    if not headers:
        return None
    carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
    named = propagate.extract(carrier, Context())
    found = trace.get_current_span(named).get_span_context()
    return found if found.is_valid else None


def request_refused(code: str, *, limit: str | None) -> None:
    """Note why the current request is refused. That is no error of the service by itself."""
    trace.get_current_span().set_attributes(_refusal(code, limit))


def message_refused(code: str, *, limit: str | None) -> None:
    """Note on the span of the current WebSocket why one of its messages is refused."""
    trace.get_current_span().add_event("message_refused", _refusal(code, limit))


def _refusal(code: str, limit: str | None) -> dict[str, str]:
    return {"lex.refusal.code": code, **({} if limit is None else {"lex.refusal.limit": limit})}


def _name(span: Any, request: Scope) -> None:
    """Name the span by its route: unlike the path, it contains no session ids."""
    if not span.is_recording():
        return
    route = route_of(request)
    if route is None:
        span.set_attribute("url.path", "unknown")
    else:
        span.update_name(f"{span.name} {route}")
        span.set_attributes({"http.route": route, "url.path": route})


def _fail(span: Any, error: Exception, *, is_begun: bool) -> None:
    """Mark the span as failed and end it.

    To an open span the instrumentation would add the exception's message, which may quote a person.
    """
    if not span.is_recording():
        return
    if not is_begun:
        span.set_attribute("http.response.status_code", 500)  # which the server will send
    span.set_attribute(names.ERROR_TYPE, type(error).__qualname__)
    span.set_status(StatusCode.ERROR)
    span.end()


def route_of(request: Scope) -> str | None:
    """The route's template, such as `/sessions/{session_id}`; None if no route matched yet."""
    return getattr(request.get("route"), "path", None)


def status_of(message: Message) -> int | None:
    """The status in the first message of a response; None for any other message.

    An accepted WebSocket counts as 101, one that is closed before as 403.
    """
    match message["type"]:
        case "http.response.start" | "websocket.http.response.start":
            return int(message["status"])
        case "websocket.accept":
            return 101
        case "websocket.close":
            return 403
    return None
