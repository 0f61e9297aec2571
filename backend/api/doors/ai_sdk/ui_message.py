"""Messages in the form of the AI SDK (`UIMessage`).

A stored turn becomes the same messages that a client builds from its stream, so that a reload
changes nothing.
"""

import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, Literal

from pydantic import BaseModel

from backend.api import message_ids
from backend.domain.conversation import Outcome, Role, ToolCall, TurnRecord, as_json
from backend.domain.errors import NothingToReplace
from backend.domain.turn_keys import is_given
from backend.storage.ports.sessions import StoredMessage
from backend.tools.arguments import shown

Part = dict[str, Any]


class UiMessage(BaseModel):
    """A message: its parts are text, steps (rounds), and tool calls with their outputs."""

    id: str = ""
    role: Literal["user", "assistant"]
    parts: list[Part]
    metadata: Any = None

    @property
    def text(self) -> str:
        texts = (part.get("text") for part in self.parts if part.get("type") == "text")
        return "\n".join(text for text in texts if isinstance(text, str))


def answer_id(turn_id: str) -> str:
    """The id of the answer, which is the first message after the turn's question."""
    return f"{turn_id}-2"


def turn_of(message_id: str) -> str | None:
    """The turn of a message that has an id of Lex; None for other ids."""
    try:
        return message_ids.turn_of(message_id)
    except NothingToReplace:
        return None


def opening_metadata(turn_id: str, session_id: str) -> dict[str, Any]:
    return {"turnId": turn_id, "sessionId": session_id}


def ending_metadata(
    *, outcome: str, model: str | None, input_tokens: int, output_tokens: int
) -> dict[str, Any]:
    usage = {
        "inputTokens": input_tokens,
        "outputTokens": output_tokens,
        "totalTokens": input_tokens + output_tokens,
    }
    return {"outcome": outcome, "model": model, "usage": usage}


_FINISH_REASONS = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content-filter",
    "tool_calls": "tool-calls",
}


def finish_reason(outcome: str, reason: str | None) -> str:
    match outcome:
        case Outcome.FAILED | Outcome.TIMED_OUT:
            return "error"
        case Outcome.CANCELLED | Outcome.DISCONNECTED:
            return "interrupted"
        case _:
            return _FINISH_REASONS.get(reason or "", "other")


def readable(value: dict[str, Any] | str) -> dict[str, Any] | str:
    """Arguments or an output; as text if a key in it would make the SDK refuse the stream."""
    text = as_json(value)
    return text if '"__proto__"' in text or '"constructor"' in text else value


def error_text(output: dict[str, Any]) -> str | None:
    """Why a tool refused or failed; None if it did not."""
    match output:
        case {"error": {"message": str(message)}}:
            return message
        case _:
            return None


def ui_messages(stored: Iterable[StoredMessage], turns: Iterable[TurnRecord]) -> list[UiMessage]:
    """Each turn is a question and, once it has ended, one answer."""
    records = {turn.id: turn for turn in turns}
    found: list[UiMessage] = []
    for turn_id, of_turn in groupby(stored, key=lambda message: message.turn_id):
        question, *answer = of_turn
        if is_given(turn_id):
            found += map(_in_text, [question, *answer])
            continue
        found.append(_in_text(question))
        record = records.get(turn_id)
        if record is not None and record.outcome is not None:
            found.append(
                UiMessage(
                    id=answer_id(turn_id),
                    role="assistant",
                    parts=parts_of(answer),
                    metadata=_metadata_of(record, record.outcome),
                )
            )
    return found


def _in_text(stored: StoredMessage) -> UiMessage:
    message = stored.message
    role: Literal["user", "assistant"] = "user" if message.role is Role.USER else "assistant"
    return UiMessage(id=stored.id, role=role, parts=[{"type": "text", "text": message.content}])


def _metadata_of(turn: TurnRecord, outcome: Outcome) -> dict[str, Any]:
    failed = {} if turn.error_code is None else {"errorCode": turn.error_code}
    ended = ending_metadata(
        outcome=outcome.value,
        model=turn.model,
        input_tokens=turn.usage.input_tokens,
        output_tokens=turn.usage.output_tokens,
    )
    return {**opening_metadata(turn.id, turn.session_id), **failed, **ended}


def parts_of(answer: Sequence[StoredMessage]) -> list[Part]:
    parts: list[Part] = []
    calls: dict[str | None, Part] = {}
    for message in (stored.message for stored in answer):
        if message.role is Role.TOOL:
            calls[message.tool_call_id] |= _state_after(json.loads(message.content))
        else:
            parts.append({"type": "step-start"})
            if message.content:
                parts.append({"type": "text", "text": message.content, "state": "done"})
            calls = {call.id: _called(call) for call in message.tool_calls}
            parts += calls.values()
    return parts


def _called(call: ToolCall) -> Part:
    return {
        "type": f"tool-{call.name}",
        "toolCallId": call.id,
        "state": "input-available",
        "input": readable(shown(call.arguments)),
        "providerExecuted": True,
    }


def _state_after(output: dict[str, Any]) -> Part:
    if text := error_text(output):
        return {"state": "output-error", "errorText": text}
    return {"state": "output-available", "output": readable(output)}
