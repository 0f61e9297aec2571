"""The server span of a request.

It has the method, scheme, server, route, status and trace of the request. Paths, query strings,
other headers and bodies may contain questions, user ids or session ids, so it never has them.

OpenTelemetry's instrumentation of FastAPI costs a turn 162 Python calls more than this module, and
a stream 6.7 kB (measured): it sets each attribute twice, prepares metrics that nobody reads, and
adds three layers of middleware.
"""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from opentelemetry import context, propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, StatusCode, Tracer
from opentelemetry.util.types import AttributeValue
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.telemetry import genai_names as names

PROBES = frozenset({"/health", "/livez", "/readyz", "/metrics"})
"""Paths that machines poll. They get no span."""

_METHODS = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"}
)


def instrument(app: FastAPI, provider: Any, *, follows: bool = False) -> None:
    """Record one server span per request. It rebuilds the middleware stack.

    With `follows`, a span continues the trace that the request carries. Otherwise it begins a trace
    with a link to that one: a stranger must not choose a trace, or whether it is sampled.
    """
    spans = _Middleware(ServerSpans, tracer=provider.get_tracer("lex"), follows=follows)
    app.user_middleware.insert(0, spans)
    app.middleware_stack = app.build_middleware_stack()


def leave_alone(app: FastAPI) -> None:
    """Undo `instrument`."""
    app.user_middleware[:] = [
        each for each in app.user_middleware if not isinstance(each, _Middleware)
    ]
    app.middleware_stack = app.build_middleware_stack()


class _Middleware(Middleware):
    """Recognised by `leave_alone`."""


class ServerSpans:
    """ASGI middleware, outside all other middleware of ours."""

    def __init__(self, app: ASGIApp, *, tracer: Tracer, follows: bool) -> None:
        self._app = app
        self._tracer = tracer
        self._follows = follows
        self._carriers = frozenset(
            name.lower().encode() for name in propagate.get_global_textmap().fields
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        carried = self._carried_by(scope)
        span = self._start(scope, carried)
        is_begun = False

        async def send_noticed(message: Message) -> None:
            nonlocal is_begun
            if not is_begun:
                is_begun = True
                _name(span, scope)
                _answer(span, status_of(message))
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                span.end()

        here = trace.set_span_in_context(span, carried if self._follows else None)
        token = context.attach(here)
        try:
            await self._app(scope, receive, send_noticed)
        except Exception as error:  # of any type: it goes on, and the span only notes it
            _fail(span, scope, error, is_begun=is_begun)
            raise
        finally:
            context.detach(token)
            if span.is_recording():
                if not is_begun:
                    _name(span, scope)
                span.end()

    def _carried_by(self, scope: Scope) -> Context:
        """The trace that the request carries; empty if it carries none."""
        headers = [header for header in scope["headers"] if header[0] in self._carriers]
        if not headers:
            return Context()
        carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
        return propagate.extract(carrier, Context())

    def _start(self, scope: Scope, carried: Context) -> Span:
        method = scope.get("method", "")
        linked: Sequence[Link] = ()
        if carried and not self._follows:
            found = trace.get_current_span(carried).get_span_context()
            linked = [Link(found)] if found.is_valid else ()
        return self._tracer.start_span(
            method if method in _METHODS else "HTTP",
            context=carried if self._follows else Context(),
            kind=SpanKind.SERVER,
            attributes={**_server(scope), **_method(method)},
            links=linked,
        )


def _server(scope: Scope) -> dict[str, AttributeValue]:
    host, port = scope.get("server") or ("0.0.0.0", 80)  # noqa: S104 - a name for an unknown one
    found: dict[str, AttributeValue] = {"url.scheme": scope.get("scheme", "http")}
    if not port:  # a Unix socket
        return {**found, names.SERVER_ADDRESS: host}
    address = host if port == 80 else f"{host}:{port}"
    return {**found, names.SERVER_ADDRESS: address, names.SERVER_PORT: port}


def _method(method: str) -> dict[str, AttributeValue]:
    """A WebSocket has none. Any other name than the known ones is `_OTHER`."""
    if not method:
        return {}
    if method in _METHODS:
        return {"http.request.method": method}
    return {"http.request.method": "_OTHER", "http.request.method_original": method}


def _answer(span: Span, status: int | None) -> None:
    if status is None or not span.is_recording():
        return
    span.set_attribute("http.response.status_code", status)
    if status >= 500:
        span.set_attribute(names.ERROR_TYPE, str(status))
        span.set_status(StatusCode.ERROR)


def request_refused(code: str, *, limit: str | None) -> None:
    """Note why the current request is refused. That is no error of the service by itself."""
    trace.get_current_span().set_attributes(_refusal(code, limit))


def message_refused(code: str, *, limit: str | None) -> None:
    """Note on the span of the current WebSocket why one of its messages is refused."""
    trace.get_current_span().add_event("message_refused", _refusal(code, limit))


def _refusal(code: str, limit: str | None) -> dict[str, str]:
    return {"lex.refusal.code": code, **({} if limit is None else {"lex.refusal.limit": limit})}


def _name(span: Span, request: Scope) -> None:
    """Name the span by its route: unlike the path, it contains no session ids."""
    if not span.is_recording():
        return
    route = route_of(request)
    if route is None:
        span.set_attribute("url.path", "unknown")
    else:
        method = request.get("method", "")
        span.update_name(f"{method if method in _METHODS else 'HTTP'} {route}")
        span.set_attributes({"http.route": route, "url.path": route})


def _fail(span: Span, request: Scope, error: Exception, *, is_begun: bool) -> None:
    """Mark the span as failed. The exception's message may quote a person, so it is left out."""
    if not span.is_recording():
        return
    if not is_begun:
        _name(span, request)
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
