"""Traces that are sent whatever the sampler says: those with an error, and those of slow turns.

The turn says here that it is slow. `sampling` keeps the spans of a trace until that is known. An
error is known from the status of a span.
"""

from typing import Protocol

from opentelemetry import trace
from opentelemetry.trace import Span, SpanContext

FIRST_CHUNK_SECONDS = 2.0
"""A turn whose first chunk takes this long is slow, as in the objective for first chunks."""

IS_SLOW = "lex.turn.is_slow"
"""The attribute of a slow turn's span, by which a collector can keep its trace, too."""

IS_DISCARDED = "lex.is_discarded"
"""The attribute of a span that is not sent."""


class Traces(Protocol):
    """The traces whose spans are open or not sent yet."""

    def keep(self, context: SpanContext) -> None:
        """Send all spans of this trace."""
        ...

    def is_kept(self, context: SpanContext) -> bool: ...


class _Sampled:
    """Only the sampler decides."""

    def keep(self, context: SpanContext) -> None: ...

    def is_kept(self, context: SpanContext) -> bool:
        return context.is_valid and context.trace_flags.sampled


# One per process, like the metrics.
_traces: Traces = _Sampled()
_slow_seconds = 0.0


def use(traces: Traces, *, slow_seconds: float) -> None:
    """Tell `traces` from now on which to keep. A turn is slow from `slow_seconds` on."""
    global _traces, _slow_seconds
    _traces, _slow_seconds = traces, slow_seconds


def use_none() -> None:
    use(_Sampled(), slow_seconds=0.0)


def note_first_chunk(turn: Span, seconds: float) -> None:
    """The turn with this span has its first chunk, so many seconds after its start."""
    if seconds >= FIRST_CHUNK_SECONDS:
        _is_slow(turn)


def note_end(turn: Span, seconds: float, *, error: str | None) -> None:
    """The turn with this span is about to end, so many seconds after its start."""
    if seconds >= _slow_seconds:
        _is_slow(turn)
    if error is not None:
        _traces.keep(turn.get_span_context())


def discard(span: Span) -> None:
    """End a span that is not to be sent."""
    span.set_attributes({IS_DISCARDED: True})
    span.end()


def current_trace_id() -> str | None:
    """The id of the current trace, if it is certain that it is sent."""
    context = trace.get_current_span().get_span_context()
    return trace.format_trace_id(context.trace_id) if _traces.is_kept(context) else None


def _is_slow(turn: Span) -> None:
    if turn.is_recording():
        turn.set_attributes({IS_SLOW: True})
        _traces.keep(turn.get_span_context())
