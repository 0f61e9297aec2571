"""Puts prompts and answers on the span of a model call, if the operator has enabled that.

The format is the messages with parts of OpenTelemetry's GenAI conventions.
"""

from collections.abc import Sequence
from typing import Any

from backend.domain.conversation import Message, Role, ToolCall, as_json
from backend.llm.port import CompletionRequest, Delta, Text
from backend.telemetry import genai_names as names


def content(request: CompletionRequest, said: Sequence[Delta]) -> dict[str, str]:
    """Return the span attributes for a request and the deltas of its answer."""
    prompt = [{"type": "text", "content": request.prompt}]
    text = "".join(each.text for each in said if isinstance(each, Text))
    answer = Message.assistant(text, [each for each in said if isinstance(each, ToolCall)])
    return {
        names.SYSTEM_INSTRUCTIONS: as_json(prompt),
        names.INPUT_MESSAGES: as_json([_message(message) for message in request.messages]),
        names.OUTPUT_MESSAGES: as_json([_message(answer)]),
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
