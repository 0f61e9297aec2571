"""Spans leave the process over OTLP, by the standard `OTEL_*` variables.

Without an endpoint it is off, and nothing of the SDK is imported. Opened in each worker, after
the fork: the SDK sends from a thread of its own.
"""

import asyncio
import os
import threading
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import structlog
from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from backend.telemetry import tracing

logger = structlog.get_logger()

CLOSING_SECONDS = 3.0
"""For the last spans to be sent: a collector that is not there must not hold up the exit."""

UNTRACED = r"^https?://([^/]*|/[^:]*:None)/(health|livez|readyz|metrics)$"
"""The latter is how the instrumentation writes the path of a socket."""

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


class Exporting:
    """The way of this process's spans to a collector."""

    def __init__(self, app: FastAPI, provider: Any) -> None:
        self._app = app
        self._provider = provider

    async def close(self) -> None:
        """Send what is left, for a bounded time. May lose spans, and says so."""
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

        tracing.record_nothing()
        FastAPIInstrumentor.uninstrument_app(self._app)
        # A daemon, as the SDK's own: whatever it waits for, the process may end.
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, CLOSING_SECONDS)
        if closing.is_alive():
            logger.warning("traces_not_sent", waited_seconds=CLOSING_SECONDS)


def is_wanted(environ: Mapping[str, str]) -> bool:
    return (
        any(environ.get(name) for name in _ENDPOINTS)
        and environ.get("OTEL_SDK_DISABLED", "").lower() != "true"
        and environ.get("OTEL_TRACES_EXPORTER", "").lower() != "none"
    )


def open_exporting(app: FastAPI, *, version: str, instance: str) -> Exporting | None:
    """Record spans and send them, if the environment says where to; `await close()` it then.

    Raises: SystemExit, with one line that names the variable that cannot be used.
    """
    if not is_wanted(os.environ):
        return None
    # Read once, when a first application is instrumented. The older names are on their way out.
    os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", "http")
    provider = _provider(version, instance)
    captures = os.environ.get("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "")
    tracing.record_with(
        provider.get_tracer("lex", version), captures_content=captures.lower() == "true"
    )
    _instrument(app, provider)
    return Exporting(app, provider)


def _provider(version: str, instance: str) -> Any:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=_resource(version, instance), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(_exporter()))
    return provider


def _resource(version: str, instance: str) -> Any:
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource

    class HashedOnce(Resource):
        """The exporter asks each span for it, and the SDK writes it as JSON to answer."""

        @cached_property
        def _hash(self) -> int:
            return super().__hash__()

        def __hash__(self) -> int:
            return self._hash

    ours = {"service.name": "lex", "service.version": version, "service.instance.id": instance}
    given = OTELResourceDetector().detect()
    whole = Resource.create(dict(Resource(ours).merge(given).attributes))
    return HashedOnce(whole.attributes, whole.schema_url)


def _exporter() -> Any:
    exporter = os.environ.get("OTEL_TRACES_EXPORTER") or "otlp"
    if exporter != "otlp":
        raise SystemExit("lex: OTEL_TRACES_EXPORTER cannot be used: it must be otlp or none.")
    name = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
    if not os.environ.get(name):
        name = "OTEL_EXPORTER_OTLP_PROTOCOL"
    match os.environ.get(name) or "http/protobuf":
        case "http/protobuf":
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            return OTLPSpanExporter()
        case "grpc":
            from opentelemetry.exporter.otlp.proto.grpc import trace_exporter

            return trace_exporter.OTLPSpanExporter()
    raise SystemExit(f"lex: {name} cannot be used: it must be http/protobuf or grpc.")


def _instrument(app: FastAPI, provider: Any) -> None:
    """One server span a request. Nobody has asked yet, so the stack may still be built anew."""
    from opentelemetry import propagate
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
    from opentelemetry.metrics import NoOpMeterProvider

    FastAPIInstrumentor.instrument_app(
        app,
        tracer_provider=provider,
        meter_provider=NoOpMeterProvider(),
        server_request_hook=_name_by_route,
        excluded_urls=UNTRACED,
        exclude_spans=["send", "receive"],
    )
    app.user_middleware.insert(0, Middleware(RequestShown))
    carried = propagate.get_global_textmap().fields
    app.middleware_stack = RequestHidden(app.build_middleware_stack(), carried=carried)


def _name_by_route(span: Any, scope: Scope) -> None:  # noqa: ARG001 - the library's signature
    """A path has ids of sessions in it; its route has not."""
    if span.is_recording():
        span.set_attribute("url.path", span.attributes.get("http.route", "unknown"))


class RequestHidden:
    """Plain ASGI. Of a request the instrumentation sees neither the query string, which in
    `GET /query` is what a person said, nor who asks. It would read all headers six times.
    """

    def __init__(self, app: ASGIApp, *, carried: Iterable[str]) -> None:
        """`carried` are the headers that bring a trace with them."""
        self._app = app
        self._carried = frozenset(name.lower().encode() for name in carried)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            carried = [header for header in scope["headers"] if header[0] in self._carried]
            hidden = {"headers": carried, "query_string": b"", "client": None}
            scope = {**scope, **hidden, "lex.request": scope}
        await self._app(scope, receive, send)


class RequestShown:
    """Plain ASGI. Everything behind it sees the request again."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope.get("lex.request", scope), receive, send)
