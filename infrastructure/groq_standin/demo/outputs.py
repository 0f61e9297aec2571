"""The tool outputs of the turn so far, each with its call."""

from dataclasses import dataclass
from typing import Any

import msgspec

from infrastructure.groq_standin.asked import Asked
from infrastructure.groq_standin.script import Call


@dataclass(frozen=True, slots=True)
class Output:
    """What came of a call."""

    call: Call
    value: Any


def of_this_turn(asked: Asked) -> list[Output]:
    """The outputs since the last user message, in the order of their messages."""
    turn = asked.messages[asked.last_user + 1 :]
    calls = {
        call.id: Call(name=call.function.name, arguments=_decoded(call.function.arguments) or {})
        for message in turn
        for call in message.tool_calls or ()
    }
    return [
        Output(calls.get(message.tool_call_id or "", Call(name="")), _decoded(message.text))
        for message in turn
        if message.role == "tool"
    ]


def _decoded(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
