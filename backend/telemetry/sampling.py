"""Sampling at the end of a trace: errors and slow turns are always sent, the rest by the sampler.

The sampler of the standard variables decides at the start of a trace, which is too early to know
how the trace ends. So this module records the spans that the sampler drops, and keeps them until
the last open span of their trace has ended in this process. A span that has failed, or a slow turn,
sends them all.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    TraceState,
)
from opentelemetry.util.types import Attributes

from backend.telemetry.kept_traces import IS_DISCARDED

MOST_SPANS = 5000
"""How many ended spans wait in memory. Beyond that, the trace that began first loses its spans."""

MOST_SPANS_OF_A_TRACE = 200
"""The last ones. A WebSocket's connection is one trace, and may last for days."""


class RecordingSampler(Sampler):
    """Decides as another sampler does, but records what that one drops."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        result = self._sampler.should_sample(
            parent_context, trace_id, name, kind, attributes, links, trace_state
        )
        if result.decision is not Decision.DROP:
            return result
        return SamplingResult(Decision.RECORD_ONLY, attributes, result.trace_state)

    def get_description(self) -> str:
        return f"Recording{{{self._sampler.get_description()}}}"


@dataclass(slots=True)
class _Trace:
    open: int = 0
    """How many of its spans have not ended."""
    is_kept: bool = False
    spans: list[ReadableSpan] = field(default_factory=list)


class KeptTraces(SpanProcessor):
    """Passes sampled spans on to `send` at once, and others once their trace is to be kept."""

    def __init__(self, send: SpanProcessor, *, most_spans: int = MOST_SPANS) -> None:
        self._send = send
        self._most_spans = most_spans
        self._lock = threading.Lock()  # spans may end in any thread
        self._traces: OrderedDict[int, _Trace] = OrderedDict()
        self._waiting = 0

    def on_start(
        self,
        span: Span,
        parent_context: Context | None = None,  # noqa: ARG002 - the SDK's form
    ) -> None:
        context = span.context
        if context is None or context.trace_flags.sampled:
            return
        with self._lock:
            self._traces.setdefault(context.trace_id, _Trace()).open += 1

    def on_end(self, span: ReadableSpan) -> None:
        context = span.context
        is_discarded = IS_DISCARDED in (span.attributes or {})
        if context is None:
            return
        if context.trace_flags.sampled:
            if not is_discarded:
                self._send.on_end(span)
            return
        with self._lock:
            trace = self._traces.get(context.trace_id) or _Trace(open=1)
            trace.open -= 1
            trace.is_kept |= span.status.status_code is StatusCode.ERROR
            if not is_discarded:
                self._wait(trace, span)
            kept = self._take(trace) if trace.is_kept else []
            if trace.open <= 0:
                self._take(trace)
                self._traces.pop(context.trace_id, None)
        for each in kept:
            if each.context is not None:
                self._send.on_end(_sampled(each, each.context))

    def keep(self, context: SpanContext) -> None:
        with self._lock:
            if trace := self._traces.get(context.trace_id):
                trace.is_kept = True

    def is_kept(self, context: SpanContext) -> bool:
        if not context.is_valid or context.trace_flags.sampled:
            return context.is_valid
        trace = self._traces.get(context.trace_id)
        return trace is not None and trace.is_kept

    def shutdown(self) -> None:
        self._send.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._send.force_flush(timeout_millis)

    def _wait(self, trace: _Trace, span: ReadableSpan) -> None:
        trace.spans.append(span)
        if len(trace.spans) > MOST_SPANS_OF_A_TRACE:
            del trace.spans[0]
            return
        self._waiting += 1
        if self._waiting > self._most_spans:
            first = next((each for each in self._traces.values() if each.spans), trace)
            self._take(first)

    def _take(self, trace: _Trace) -> list[ReadableSpan]:
        spans, trace.spans = trace.spans, []
        self._waiting -= len(spans)
        return spans


def _sampled(span: ReadableSpan, context: SpanContext) -> ReadableSpan:
    """The same span with the flag of a sampled one, without which no processor sends it."""
    return ReadableSpan(
        name=span.name,
        context=SpanContext(
            context.trace_id,
            context.span_id,
            context.is_remote,
            TraceFlags(context.trace_flags | TraceFlags.SAMPLED),
            context.trace_state,
        ),
        parent=span.parent,
        resource=span.resource,
        attributes=span.attributes,
        events=span.events,
        links=span.links,
        kind=span.kind,
        status=span.status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )
