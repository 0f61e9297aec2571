"""Turns prompts and answers into attributes of spans, if the operator has enabled that.

The format is the messages with parts of OpenTelemetry's conventions for generative AI. Readers such
as Phoenix check it against its JSON schemas, and drop a whole list of messages for one flaw.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from backend.domain.conversation import Message, Role, ToolCall, as_json
from backend.domain.text import clean
from backend.domain.usage import Purpose
from backend.llm.port import CompletionRequest, Delta, Finish, FinishReason, Text, ToolSpec
from backend.telemetry import genai_names as names
from backend.telemetry import tracing

INCOMPLETE = "error"
"""The finish reason of an answer that broke off. The schema requires one."""


def is_captured(purpose: Purpose) -> bool:
    """Whether spans have the content of calls for this purpose."""
    return purpose != "front_end" and tracing.captures_content()


def call_content(request: CompletionRequest, said: Sequence[Delta]) -> dict[str, str]:
    """Return the attributes for a call of a model: the request, and the deltas of its answer."""
    text = "".join(each.text for each in said if isinstance(each, Text))
    answer = Message.assistant(text, [each for each in said if isinstance(each, ToolCall)])
    reason = next((each.reason for each in said if isinstance(each, Finish)), None)
    content = {
        names.SYSTEM_INSTRUCTIONS: _json([_text(request.prompt)]),
        names.INPUT_MESSAGES: _json([_message(message) for message in request.messages]),
        names.OUTPUT_MESSAGES: _json([_output(answer, reason)]),
    }
    if request.tools:
        content[names.TOOL_DEFINITIONS] = _json([_definition(tool) for tool in request.tools])
    return content


def turn_content(
    question: Message, answers: Iterable[Message], reason: FinishReason | None
) -> dict[str, str]:
    """Return the attributes for a turn: the question, and everything that the client was told.

    Pass None as `reason` for a turn that failed or was stopped.
    """
    told = "".join(each.content for each in answers if each.role is Role.ASSISTANT)
    return {
        names.INPUT_MESSAGES: _json([_message(question)]),
        names.OUTPUT_MESSAGES: _json([_output(Message.assistant(told), reason)]),
        names.INPUT_VALUE: question.content,
        names.OUTPUT_VALUE: told,
    }


def _output(message: Message, reason: FinishReason | None) -> dict[str, Any]:
    told = "tool_call" if reason == "tool_calls" else reason or INCOMPLETE
    return {**_message(message), "finish_reason": told}


def _message(message: Message) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    if message.role is Role.TOOL:
        answered = {"id": message.tool_call_id, "response": _parsed(message.content)}
        parts.append({"type": "tool_call_response", **answered})
    elif message.content:
        parts.append(_text(message.content))
    for call in message.tool_calls:
        asked = {"id": call.id, "name": call.name, "arguments": _parsed(call.arguments)}
        parts.append({"type": "tool_call", **asked})
    return {"role": message.role.value, "parts": parts}


def _text(content: str) -> dict[str, str]:
    return {"type": "text", "content": content}


def _definition(tool: ToolSpec) -> dict[str, Any]:
    described = {"description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "name": tool.name, **described}


def _parsed(text: str) -> Any:
    """The JSON value of a text, or the text if it is not JSON: models write both."""
    try:
        value = json.loads(text)
        as_json(value)  # Python reads NaN and 1e999, which JSON cannot express
    except (ValueError, RecursionError):
        return text
    return value


def _json(value: Any) -> str:
    # Parsed arguments may contain half a surrogate pair. The exporter could not encode it, and
    # would lose all spans of its batch.
    return clean(as_json(value))
