"""The spans of a turn: their names, attributes and parents.

Spans are started and ended by hand, and none is made per chunk. They contain no text of people,
models or tools, unless `captures_content()`. Spans are recorded only after `exporting` has opened.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from opentelemetry import context, trace
from opentelemetry.trace import Link, NoOpTracer, SpanKind, StatusCode, Tracer
from opentelemetry.trace import Span as Span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue as AttributeValue

from backend.telemetry import genai_names as names
from backend.telemetry.turn_clock import Part

NO_SPAN: Span = trace.INVALID_SPAN

_W3C = TraceContextTextMapPropagator()

_PLAIN = (names.INPUT_VALUE, names.OUTPUT_VALUE)

_CONVERSATION = context.create_key("lex-conversation")
_REQUEST = context.create_key("lex-request")


@dataclass(frozen=True, slots=True)
class Upstream:
    """The provider of the models, the first model, and the URL under which they are called."""

    provider: str = ""
    model: str = ""
    url: str = ""


WORKER_LOST = "worker_lost"
"""The error of a turn whose worker has died."""

# One per process, like the metrics.
_tracer: Tracer = NoOpTracer()
_captures_content = False
_turn: Mapping[str, AttributeValue] = {}
_chat: Mapping[str, AttributeValue] = {}
"""The attributes that all turns and all calls of models share."""


def record_with(
    tracer: Tracer,
    *,
    upstream: Upstream = Upstream(),
    captures_content: bool = False,
) -> None:
    """Record spans from now on."""
    global _tracer, _captures_content, _turn, _chat
    turn: dict[str, AttributeValue] = {
        names.OPERATION_NAME: names.INVOKE_AGENT,
        names.PROVIDER_NAME: upstream.provider,
        names.REQUEST_MODEL: upstream.model,
        names.AGENT_NAME: names.LEX,
    }
    chat: dict[str, AttributeValue] = {
        names.OPERATION_NAME: names.CHAT,
        names.PROVIDER_NAME: upstream.provider,
        names.REQUEST_STREAM: True,
        **_server(upstream.url),
    }
    _tracer, _captures_content, _turn, _chat = tracer, captures_content, turn, chat


def record_nothing() -> None:
    record_with(NoOpTracer())


def captures_content() -> bool:
    return _captures_content


def start(name: str, *, kind: SpanKind = SpanKind.INTERNAL, **given: Any) -> Span:
    """Start a span under the current one. `given` is what `Tracer.start_span` takes."""
    return _tracer.start_span(name, kind=kind, **given)


def traceparent(span: Span | None = None) -> str | None:
    """The `traceparent` header (W3C Trace Context) of `span`, by default of the current span."""
    at = (span or trace.get_current_span()).get_span_context()
    if not at.is_valid:
        return None
    return f"00-{at.trace_id:032x}-{at.span_id:016x}-{at.trace_flags:02x}"


def begin_turn(*, turn_id: str, session_id: str, door: str, is_own_trace: bool) -> Span:
    """Start the span of a turn. Call it before the claim, which stores the span's context.

    `door` is the protocol by which the query came. The span of a refused turn is discarded. With
    `is_own_trace` the turn gets its own trace with a link to the request: for WebSockets, which may
    stay open for days.
    """
    request = trace.get_current_span().get_span_context()
    return _tracer.start_span(
        "invoke_agent lex",
        context=context.Context() if is_own_trace else None,
        links=[Link(request)] if is_own_trace and request.is_valid else (),
        attributes={
            **_turn,
            names.CONVERSATION_ID: session_id,
            "lex.turn.id": turn_id,
            "lex.door": door,
        },
    )


def enter(span: Span, *, session_id: str) -> None:
    """Make the turn's `span` the parent of every later span of this task."""
    here = context.set_value(_REQUEST, trace.get_current_span())
    here = context.set_value(_CONVERSATION, session_id, here)
    context.attach(trace.set_span_in_context(span, here))


@contextmanager
def about(session_id: str) -> Iterator[None]:
    """Say of all calls of models in the block that they belong to a session."""
    token = context.attach(context.set_value(_CONVERSATION, session_id))
    try:
        yield
    finally:
        context.detach(token)


def end_turn(
    span: Span,
    *,
    outcome: str,
    error: str | None,
    model: str | None,
    rounds: int,
    input_tokens: int,
    output_tokens: int,
    seconds: Mapping[Part, float],
    content: Mapping[str, AttributeValue],
) -> None:
    """End the span in the task that entered it.

    An error, and the plain text of `content`, are also noted at the root of the trace, if that is
    the request and still open. Its status of 200 was sent before the turn failed.
    """
    attributes: dict[str, AttributeValue] = {
        **{f"lex.turn.seconds.{part}": spent for part, spent in seconds.items()},
        "lex.outcome": outcome,
        "lex.rounds": rounds,
        names.USAGE_INPUT_TOKENS: input_tokens,
        names.USAGE_OUTPUT_TOKENS: output_tokens,
        **content,
    }
    if model is not None:
        attributes[names.RESPONSE_MODEL] = model
    span.set_attributes(attributes)
    request = _request_of(span)
    request.set_attributes({name: content[name] for name in _PLAIN if name in content})
    if error is not None:
        fail(span, error)
        fail(request, error)
    span.end()


def _request_of(turn: Span) -> Span:
    """The span of the request that started the turn, if it is in the same trace and still open."""
    request = context.get_value(_REQUEST)
    if not isinstance(request, Span) or not request.is_recording():
        return NO_SPAN
    is_same = request.get_span_context().trace_id == turn.get_span_context().trace_id
    return request if is_same else NO_SPAN


def begin_loss(turn_id: str, *, session_id: str, traceparent: str | None) -> Span:
    """Start a failed span in the trace of a turn whose worker has died, from its `traceparent`."""
    span = _tracer.start_span(
        "turn_lost",
        context=_W3C.extract({"traceparent": traceparent or ""}, context.Context()),
        attributes={**_turn, names.CONVERSATION_ID: session_id, "lex.turn.id": turn_id},
    )
    fail(span, WORKER_LOST)
    return span


def link_to_turn(turn_id: str, traceparent: str | None) -> None:
    """Link the current request to a turn that another request started, on any worker."""
    here = trace.get_current_span()
    if not here.is_recording():
        return
    here.set_attribute("lex.turn.id", turn_id)
    carried = _W3C.extract({"traceparent": traceparent or ""}, context.Context())
    turn = trace.get_current_span(carried).get_span_context()
    if turn.is_valid and turn.trace_id != here.get_span_context().trace_id:
        here.add_link(turn, {"lex.turn.id": turn_id})


def stream_ended(outcome: str) -> None:
    """Note how the stream of the current request ended: `read`, `disconnected` or `slow_client`."""
    span = trace.get_current_span()
    if span.is_recording():
        span.set_attribute("lex.stream.outcome", outcome)


def begin_chat(model: str, *, purpose: str) -> Span:
    """Start the span of one model call.

    It does not become the current span: it stays open across a generator's `yield`, where the
    consumer's spans would wrongly become its children.
    """
    attributes: dict[str, AttributeValue] = {
        **_chat,
        names.REQUEST_MODEL: model,
        "lex.purpose": purpose,
    }
    session_id = context.get_value(_CONVERSATION)
    if isinstance(session_id, str):
        attributes[names.CONVERSATION_ID] = session_id
    return _tracer.start_span(f"chat {model}", kind=SpanKind.CLIENT, attributes=attributes)


def completion(
    *,
    response_id: str,
    model: str,
    finish_reason: str,
    input_tokens: int,
    output_tokens: int,
    cached_input_tokens: int,
    reasoning_tokens: int,
) -> dict[str, AttributeValue]:
    """The attributes of a call with a complete answer, for `end_chat`."""
    attributes: dict[str, AttributeValue] = {
        names.RESPONSE_ID: response_id,
        names.RESPONSE_MODEL: model,
        names.RESPONSE_FINISH_REASONS: [finish_reason],
        names.USAGE_INPUT_TOKENS: input_tokens,
        names.USAGE_OUTPUT_TOKENS: output_tokens,
    }
    if cached_input_tokens:
        attributes[names.USAGE_CACHE_READ_INPUT_TOKENS] = cached_input_tokens
    if reasoning_tokens:
        attributes[names.USAGE_REASONING_OUTPUT_TOKENS] = reasoning_tokens
    return attributes


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
            names.RESPONSE_TIME_TO_FIRST_CHUNK: first_chunk_seconds,
        }
    span.set_attributes(attributes)
    if error is not None:
        fail(span, error)
    span.end()


class ToolSpan:
    """The span of one tool call. Without `ended` it is a cancelled one."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self.outcome = "cancelled"

    def ended(self, outcome: str, output: Mapping[str, Any]) -> None:
        self.outcome = outcome
        if _captures_content:
            self._span.set_attribute(names.TOOL_CALL_RESULT, json.dumps(output))

    def end(self) -> None:
        self._span.set_attribute("lex.outcome", self.outcome)
        if self.outcome not in ("ok", "refused"):  # a refusal is a normal answer
            fail(self._span, self.outcome)
        self._span.end()


@contextmanager
def tool_called(name: str, *, call_id: str, description: str, arguments: str) -> Iterator[ToolSpan]:
    """Run the block under the span of a tool call.

    Use it in a coroutine, not across the `yield` of a generator: it makes the span current.
    """
    attributes: dict[str, AttributeValue] = {
        names.OPERATION_NAME: names.EXECUTE_TOOL,
        names.TOOL_NAME: name,
        names.TOOL_CALL_ID: call_id,
        names.TOOL_TYPE: "function",
        names.TOOL_DESCRIPTION: description,
    }
    if _captures_content:
        attributes[names.TOOL_CALL_ARGUMENTS] = arguments
    span = _tracer.start_span(f"execute_tool {name}", attributes=attributes)
    token = context.attach(trace.set_span_in_context(span))
    tool_span = ToolSpan(span)
    try:
        yield tool_span
    finally:
        context.detach(token)
        tool_span.end()


def _server(url: str) -> dict[str, AttributeValue]:
    """The host and port of a URL; nothing without a host."""
    address = urlsplit(url)
    if not address.hostname:
        return {}
    port = address.port or (80 if address.scheme == "http" else 443)
    return {names.SERVER_ADDRESS: address.hostname, names.SERVER_PORT: port}


def fail(span: Span, error_type: str) -> None:
    span.set_attribute(names.ERROR_TYPE, error_type)
    if error_type != "cancelled":  # a cancellation is not an error
        span.set_status(StatusCode.ERROR)
