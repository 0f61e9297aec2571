"""Export of spans over OTLP, configured by the standard `OTEL_*` variables.

Without an endpoint it is off, and the SDK is not even imported. Each worker opens its own after
the fork, because the SDK sends from a thread, which a fork would not copy.
"""

import asyncio
import os
import threading
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import structlog
from fastapi import FastAPI

from backend.telemetry import kept_traces, server_span, tracing
from backend.telemetry.genai_names import SCHEMA_URL

logger = structlog.get_logger()

CLOSING_SECONDS = 3.0
"""The limit for sending the last spans: a missing collector must not delay the exit."""

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


class Exporting:
    """The open export of this process's spans."""

    def __init__(self, app: FastAPI, provider: Any) -> None:
        self._app = app
        self._provider = provider

    async def close(self) -> None:
        """Send the remaining spans within `CLOSING_SECONDS`; log a warning if that is too short."""
        tracing.record_nothing()
        kept_traces.use_none()
        server_span.leave_alone(self._app)
        # A daemon thread, so that the process can end while it still waits for a collector.
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, CLOSING_SECONDS)
        if closing.is_alive():
            logger.warning("traces_not_sent", waited_seconds=CLOSING_SECONDS)


def is_wanted(environ: Mapping[str, str]) -> bool:
    """Whether an endpoint is set and neither the SDK nor the traces exporter is switched off."""
    return (
        any(environ.get(name) for name in _ENDPOINTS)
        and environ.get("OTEL_SDK_DISABLED", "").lower() != "true"
        and environ.get("OTEL_TRACES_EXPORTER", "").lower() != "none"
    )


def open_exporting(
    app: FastAPI,
    *,
    version: str,
    instance: str,
    upstream: tracing.Upstream,
    follows: bool = False,
    slow_seconds: float = 10.0,
) -> Exporting | None:
    """Start to record and send spans; None if the environment sets no endpoint.

    The caller must `await close()`. With `follows`, a request continues the trace of its client,
    instead of linking to it. The trace of a turn of `slow_seconds` or more is always sent.

    Raises:
        SystemExit: with one line that names the variable that cannot be used.
    """
    _refuse_other_signals(os.environ)
    if not is_wanted(os.environ):
        return None
    spans = _span_provider(version, instance, slow_seconds=slow_seconds)
    captures = os.environ.get("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "")
    tracing.record_with(
        spans.get_tracer("lex", version, schema_url=SCHEMA_URL),
        upstream=upstream,
        captures_content=captures.lower() == "true",
    )
    server_span.instrument(app, spans, follows=follows)
    return Exporting(app, spans)


_OTHER_SIGNALS = {
    "OTEL_METRICS_EXPORTER": (("prometheus", "none"), "Prometheus scrapes /metrics"),
    "OTEL_LOGS_EXPORTER": (("console", "none"), "Lex logs JSON lines to standard error"),
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": ((), "Prometheus scrapes /metrics"),
    "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": ((), "Lex logs JSON lines to standard error"),
}
"""Variables that would send metrics or logs, with their values that ask for nothing of the kind."""


def _refuse_other_signals(environ: Mapping[str, str]) -> None:
    """Refuse to send metrics or logs over OTLP: nobody would notice that they do not arrive.

    Raises: SystemExit.
    """
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return
    for name, (allowed, instead) in _OTHER_SIGNALS.items():
        value = environ.get(name, "").strip()
        if value and value.lower() not in allowed:
            remedy = f"set it to {' or '.join(allowed)}" if allowed else "remove it"
            raise SystemExit(
                f"lex: {name} cannot be used: Lex sends only traces over OTLP. {instead}, where a "
                f"collector can read them; {remedy}."
            )


def _span_provider(version: str, instance: str, *, slow_seconds: float) -> Any:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from backend.telemetry.sampling import KeptTraces, RecordingSampler

    provider = TracerProvider(resource=_resource(version, instance), shutdown_on_exit=False)
    provider.sampler = RecordingSampler(provider.sampler)
    kept = KeptTraces(BatchSpanProcessor(_exporter()))
    provider.add_span_processor(kept)
    kept_traces.use(kept, slow_seconds=slow_seconds)
    return provider


def _resource(version: str, instance: str) -> Any:
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource

    class HashedOnce(Resource):
        """The exporter hashes the resource once per span, for which the SDK renders it as JSON."""

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
        raise SystemExit(
            f"lex: OTEL_TRACES_EXPORTER cannot be used: it must be otlp or none, not {exporter!r}."
        )
    name = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
    if not os.environ.get(name):
        name = "OTEL_EXPORTER_OTLP_PROTOCOL"
    match protocol := os.environ.get(name) or "http/protobuf":
        case "http/protobuf":
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            return OTLPSpanExporter()
        case "grpc":
            from opentelemetry.exporter.otlp.proto.grpc import trace_exporter

            return trace_exporter.OTLPSpanExporter()
    raise SystemExit(
        f"lex: {name} cannot be used: it must be http/protobuf or grpc, not {protocol!r}."
    )
