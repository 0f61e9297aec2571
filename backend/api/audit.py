"""The audit events of a session, derived from its messages and the endings of its turns."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from backend.api.schemas import SessionEvent, SessionEventType, ToolCallView
from backend.domain.conversation import Outcome, Role, TurnRecord
from backend.domain.turn_keys import is_given
from backend.llm.port import CUT
from backend.storage.ports.sessions import StoredMessage


def happened(
    stored: Iterable[StoredMessage], turns: Iterable[TurnRecord]
) -> Iterator[SessionEvent]:
    """Yield the given messages, and then turn by turn its messages and its ending.

    A turn that simply completed has no ending. A turn that was replaced has only an ending.
    """
    of_turn: dict[str, list[StoredMessage]] = defaultdict(list)
    for message in stored:
        if is_given(message.turn_id):
            yield from _of_message(message)
        of_turn[message.turn_id].append(message)
    for turn in turns:
        for message in of_turn[turn.id]:
            yield from _of_message(message)
        yield from _of_ending(turn) if of_turn[turn.id] else _of_replaced(turn)


def _of_message(stored: StoredMessage) -> Iterator[SessionEvent]:
    message = stored.message

    def event(type_: SessionEventType, data: dict[str, Any]) -> SessionEvent:
        return SessionEvent(
            type=type_, turn_id=stored.turn_id, created_at=message.created_at, data=data
        )

    match message.role:
        case Role.USER:
            yield event("user_message", {"content": message.content})
        case Role.ASSISTANT:
            if message.content:
                yield event("assistant_message", {"content": message.content})
            for call in message.tool_calls:
                yield event("tool_call", ToolCallView.of(call).model_dump())
        case Role.TOOL:
            yield event(
                "tool_result",
                {
                    "id": message.tool_call_id,
                    "name": message.tool_name,
                    "output": json.loads(message.content),
                },
            )


def _of_replaced(turn: TurnRecord) -> Iterator[SessionEvent]:
    data = {"outcome": turn.outcome, "replaced": True}
    yield SessionEvent(
        type="system", turn_id=turn.id, created_at=turn.finished_at or turn.started_at, data=data
    )


def _of_ending(turn: TurnRecord) -> Iterator[SessionEvent]:
    """Yield `error` for a failure or time-out, nothing for a whole answer, `system` otherwise."""
    if turn.outcome is None or turn.finished_at is None:
        return
    type_: SessionEventType = "system"
    data: dict[str, Any] = {"outcome": turn.outcome}
    match turn.outcome:
        case Outcome.FAILED | Outcome.TIMED_OUT:
            type_ = "error"
            data["code"] = turn.error_code
        case Outcome.COMPLETED:
            if turn.finish_reason not in CUT:
                return
            data["finish_reason"] = turn.finish_reason
    yield SessionEvent(type=type_, turn_id=turn.id, created_at=turn.finished_at, data=data)
