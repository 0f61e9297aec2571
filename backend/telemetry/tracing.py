"""The spans of a turn: their names, what they say, and what they hang under.

A span is begun and ended by hand, and nothing is made per chunk. What people, models and tools
say is in none of them, unless `captures_content`. Until `exporting` opens, nothing is recorded.
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry import context, trace
from opentelemetry.trace import Link, NoOpTracer, SpanKind, StatusCode, Tracer
from opentelemetry.trace import Span as Span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue as AttributeValue

NO_SPAN: Span = trace.INVALID_SPAN

_W3C = TraceContextTextMapPropagator()

SLOW_TRANSACTION_SECONDS = 0.25
"""An eighth of the two seconds in which a first chunk should be there, and a turn is claimed before
it. In a histogram all of them are counted.
"""

# One of a process, like its metrics.
_tracer: Tracer = NoOpTracer()
_provider = ""
_captures_content = False


def record_with(tracer: Tracer, *, provider: str = "", captures_content: bool = False) -> None:
    """`provider` is who runs the models."""
    global _tracer, _provider, _captures_content
    _tracer, _provider, _captures_content = tracer, provider, captures_content


def record_nothing() -> None:
    record_with(NoOpTracer())


def captures_content() -> bool:
    return _captures_content


def traceparent(span: Span | None = None) -> str | None:
    """The context of a span, or else of the current one, as W3C Trace Context writes it."""
    at = (span or trace.get_current_span()).get_span_context()
    if not at.is_valid:
        return None
    return f"00-{at.trace_id:032x}-{at.span_id:016x}-{at.trace_flags:02x}"


def begin_turn(*, turn_id: str, session_id: str, is_own_trace: bool) -> Span:
    """Called before the claim, which stores the span's context. A refused turn never ends its span,
    so nothing is sent.

    A turn of a connection that may live for days `is_own_trace`, and links to it.
    """
    request = trace.get_current_span().get_span_context()
    return _tracer.start_span(
        "invoke_agent lex",
        context=context.Context() if is_own_trace else None,
        links=[Link(request)] if is_own_trace and request.is_valid else (),
        attributes={
            "gen_ai.provider.name": _provider,
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": "lex",
            "gen_ai.conversation.id": session_id,
            "lex.turn.id": turn_id,
        },
    )


def enter(span: Span) -> None:
    """Everything that this task does from here on hangs under the span."""
    context.attach(trace.set_span_in_context(span))


def end_turn(
    span: Span,
    *,
    outcome: str,
    error: str | None,
    model: str | None,
    rounds: int,
    input_tokens: int,
    output_tokens: int,
) -> None:
    attributes: dict[str, AttributeValue] = {
        "lex.outcome": outcome,
        "lex.rounds": rounds,
        "gen_ai.usage.input_tokens": input_tokens,
        "gen_ai.usage.output_tokens": output_tokens,
    }
    if model is not None:
        attributes["gen_ai.response.model"] = model
    span.set_attributes(attributes)
    if error is not None:
        _fail(span, error)
    span.end()


def link_to_turn(turn_id: str, traceparent: str | None) -> None:
    """The request at hand reads or stops a turn that another one began, on whichever worker."""
    here = trace.get_current_span()
    if not here.is_recording():
        return
    here.set_attribute("lex.turn.id", turn_id)
    carried = _W3C.extract({"traceparent": traceparent or ""}, context.Context())
    turn = trace.get_current_span(carried).get_span_context()
    if turn.is_valid and turn.trace_id != here.get_span_context().trace_id:
        here.add_link(turn, {"lex.turn.id": turn_id})


def stream_ended(outcome: str) -> None:
    """`read` to its end, `disconnected` or `slow_client`: the stream of the request at hand."""
    span = trace.get_current_span()
    if span.is_recording():
        span.set_attribute("lex.stream.outcome", outcome)


def begin_chat(model: str) -> Span:
    """One call of a model. It is never the one at hand: whoever made it may be in between."""
    return _tracer.start_span(
        f"chat {model}",
        kind=SpanKind.CLIENT,
        attributes={
            "gen_ai.provider.name": _provider,
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": model,
            "gen_ai.request.stream": True,
        },
    )


def completion(
    *,
    response_id: str,
    model: str,
    finish_reason: str,
    input_tokens: int,
    output_tokens: int,
) -> dict[str, AttributeValue]:
    """The attributes of a call that brought a whole completion, for `end_chat`."""
    return {
        "gen_ai.response.id": response_id,
        "gen_ai.response.model": model,
        "gen_ai.response.finish_reasons": [finish_reason],
        "gen_ai.usage.input_tokens": input_tokens,
        "gen_ai.usage.output_tokens": output_tokens,
    }


def end_chat(
    span: Span,
    *,
    error: str | None,
    first_chunk_seconds: float | None,
    attributes: Mapping[str, AttributeValue],
) -> None:
    if first_chunk_seconds is not None:
        attributes = {
            **attributes,
            "gen_ai.response.time_to_first_chunk": first_chunk_seconds,
        }
    span.set_attributes(attributes)
    if error is not None:
        _fail(span, error)
    span.end()


class ToolSpan:
    """One call of a tool, and how it ended."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self.outcome = "cancelled"

    def ended(self, outcome: str, output: Mapping[str, Any]) -> None:
        self.outcome = outcome
        if _captures_content:
            self._span.set_attribute("gen_ai.tool.call.result", json.dumps(output))

    def end(self) -> None:
        self._span.set_attribute("lex.outcome", self.outcome)
        if self.outcome not in ("ok", "refused"):  # to say no is an answer
            _fail(self._span, self.outcome)
        self._span.end()


@contextmanager
def tool_called(name: str, *, call_id: str, description: str, arguments: str) -> Iterator[ToolSpan]:
    """For a coroutine, not a generator: what it does meanwhile hangs under this span."""
    attributes: dict[str, AttributeValue] = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": name,
        "gen_ai.tool.call.id": call_id,
        "gen_ai.tool.type": "function",
        "gen_ai.tool.description": description,
    }
    if _captures_content:
        attributes["gen_ai.tool.call.arguments"] = arguments
    span = _tracer.start_span(f"execute_tool {name}", attributes=attributes)
    token = context.attach(trace.set_span_in_context(span))
    tool_span = ToolSpan(span)
    try:
        yield tool_span
    finally:
        context.detach(token)
        tool_span.end()


@contextmanager
def transaction(name: str, *, failures: tuple[type[Exception], ...]) -> Iterator[None]:
    """One transaction of the store, the wait for its thread included; inside a trace alone, and
    only if it failed or was slow: the rest would be two of a turn's five spans.

    What is raised besides `failures` is an answer, such as that a session is busy, or a caller
    who left.
    """
    begun, failed = time.time_ns(), ""
    try:
        yield
    except failures as error:
        failed = type(error).__name__
        raise
    finally:
        is_slow = time.time_ns() - begun >= SLOW_TRANSACTION_SECONDS * 1e9
        if (failed or is_slow) and trace.get_current_span().is_recording():
            span = _tracer.start_span(f"store {name}", kind=SpanKind.CLIENT, start_time=begun)
            if failed:
                _fail(span, failed)
            span.end()


def _fail(span: Span, error_type: str) -> None:
    span.set_attribute("error.type", error_type)
    if error_type != "cancelled":  # nothing was wrong with it
        span.set_status(StatusCode.ERROR)
