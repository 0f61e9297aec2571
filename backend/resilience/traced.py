"""One call of a model as a span. It is the innermost layer: what is tried again is another span."""

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from backend.completion import CompletionRequest, Delta, Finish, Text
from backend.conversation import Message, Role, ToolCall, as_json
from backend.errors import UpstreamError
from backend.resilience.guard import NamedModel
from backend.telemetry import tracing


class Traced:
    def __init__(self, model: NamedModel) -> None:
        self.name = model.name
        self._model = model

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Delta, None]:
        span = tracing.begin_chat(self.name)
        begun, first_chunk_seconds = time.perf_counter(), None
        said: list[Text | ToolCall] = []
        error: str | None = "cancelled"
        request = replace(request, traceparent=tracing.traceparent(span))
        try:
            async with aclosing(self._model.complete(request)) as deltas:
                async for delta in deltas:
                    if first_chunk_seconds is None:
                        first_chunk_seconds = time.perf_counter() - begun
                    if isinstance(delta, Finish):
                        _completed(span, delta)
                    elif tracing.captures_content():
                        said.append(delta)
                    yield delta
            error = None
        except UpstreamError as failure:
            error = failure.code
            raise
        finally:
            content = _content(request, said) if tracing.captures_content() else {}
            tracing.end_chat(
                span, error=error, first_chunk_seconds=first_chunk_seconds, content=content
            )


def _completed(span: tracing.Span, finish: Finish) -> None:
    tracing.completed(
        span,
        response_id=finish.id,
        model=finish.model,
        finish_reason=finish.reason,
        input_tokens=finish.usage.input_tokens,
        output_tokens=finish.usage.output_tokens,
    )


def _content(request: CompletionRequest, said: Sequence[Text | ToolCall]) -> dict[str, str]:
    """In the form of OpenTelemetry's conventions: messages that are made of parts."""
    prompt = [{"type": "text", "content": request.prompt}]
    text = "".join(each.text for each in said if isinstance(each, Text))
    answer = Message.assistant(text, [each for each in said if isinstance(each, ToolCall)])
    return {
        "gen_ai.system_instructions": as_json(prompt),
        "gen_ai.input.messages": as_json([_message(message) for message in request.messages]),
        "gen_ai.output.messages": as_json([_message(answer)]),
    }


def _message(message: Message) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    if message.role is Role.TOOL:
        answered = {"id": message.tool_call_id, "response": message.content}
        parts.append({"type": "tool_call_response", **answered})
    elif message.content:
        parts.append({"type": "text", "content": message.content})
    for call in message.tool_calls:
        asked = {"id": call.id, "name": call.name, "arguments": call.arguments}
        parts.append({"type": "tool_call", **asked})
    return {"role": message.role.value, "parts": parts}
