"""Writes the body of a request for a chat completion.

The body bypasses the SDK, which would rebuild every message and schema unchanged.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from backend.domain.conversation import Message, Role
from backend.llm.dialects.known_tools import KnownTools
from backend.llm.dialects.names import sendable
from backend.llm.dialects.text_reader import shown_part
from backend.llm.port import CompletionRequest, ToolSpec

_json = msgspec.json.Encoder()

STREAM_OPTIONS = {"stream_options": {"include_usage": True}}
"""Groq always reports usage; other servers with this protocol only do so on request."""

_PARAMETERS: tuple[tuple[str, dict[str, Any]], ...] = (
    # Reasoning is never shown, and delays the first word.
    ("openai/gpt-oss-", {"reasoning_effort": "low"}),
    ("qwen/", {"reasoning_format": "hidden"}),
)

_LEAST_REASONING: tuple[tuple[str, dict[str, Any]], ...] = (
    ("openai/gpt-oss-", {"reasoning_effort": "low"}),  # has no lower level
    ("qwen/", {"reasoning_effort": "none"}),
)


def parameters_of(model: str, *, thinks_least: bool = False) -> dict[str, Any]:
    """Return the extra parameters for this model. Other models would refuse them."""
    tables = (_PARAMETERS, _LEAST_REASONING) if thinks_least else (_PARAMETERS,)
    parameters: dict[str, Any] = {}
    for family, more in (row for table in tables for row in table):
        if model.startswith(family):
            parameters |= more
    return parameters


class RequestWriter:
    """Writes requests as JSON. Keeps the encoded tools, which hardly ever change."""

    def __init__(self) -> None:
        self._tools = KnownTools(())
        self._encoded = msgspec.Raw(b"[]")

    def write(self, model: str, request: CompletionRequest, *, max_completion_tokens: int) -> bytes:
        """Return the body of a request for a streamed completion of this model."""
        if request.tools is not self._tools.specs:
            self._tools = KnownTools(request.tools)
            self._encoded = msgspec.Raw(_json.encode(tools_of(request.tools)))
        return _json.encode(
            {
                "model": model,
                "messages": messages_of(request, self._tools),
                **({"tools": self._encoded} if request.tools else {}),
                "max_completion_tokens": max_completion_tokens,
                "stream": True,
                **STREAM_OPTIONS,
                **parameters_of(model, thinks_least=request.thinks_least),
            }
        )


def messages_of(request: CompletionRequest, tools: KnownTools) -> list[dict[str, Any]]:
    sent = [_message(message, _sendable_text(message, tools)) for message in request.messages]
    return [{"role": "system", "content": request.prompt}, *filter(None, sent)]


def _sendable_text(message: Message, tools: KnownTools) -> str:
    """The message's text, without markup in answers of the assistant.

    A model that finds markup in its earlier answers would write more of it.
    """
    is_own = message.role is Role.ASSISTANT
    return shown_part(message.content, tools) if is_own else message.content


def _message(message: Message, content: str) -> dict[str, Any] | None:
    if message.content and not content and not message.tool_calls:
        return None  # it was only markup
    body: dict[str, Any] = {"role": message.role.value, "content": content}
    if message.role is Role.TOOL:
        body["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        body["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {
                    "name": sendable(call.name),
                    "arguments": _sendable(call.arguments),
                },
            }
            for call in message.tool_calls
        ]
    return body


def _sendable(arguments: str) -> str:
    """Replace invalid arguments by `{}`: the upstream refuses a history with invalid JSON.

    Nothing is lost, because the tool's output tells the model what was wrong.
    """
    try:
        msgspec.json.decode(arguments)
    except (msgspec.DecodeError, RecursionError):
        return "{}"
    return arguments


def tools_of(specs: Sequence[ToolSpec]) -> list[dict[str, Any]]:
    return [
        {
            "type": "function",
            "function": {
                "name": spec.name,
                "description": spec.description,
                "parameters": spec.parameters,
            },
        }
        for spec in specs
    ]
