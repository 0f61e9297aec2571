"""Journals of turns in SQL. The caller must hold the lock on the row of the session."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, select, update

from backend.domain.conversation import Message, Role, ToolCall, now
from backend.domain.text import clean
from backend.domain.turn_keys import TurnKey
from backend.storage.ports.side_effects import SideEffect
from backend.storage.sql.rows import AnyRow, message_row
from backend.storage.sql.tables import turns
from backend.storage.turn_journal import closed, with_output

_THIS_TURN = (turns.c.owner == bindparam("this_owner"), turns.c.id == bindparam("this_turn"))
_READ = select(turns.c.journal).where(*_THIS_TURN)
_WRITE = (
    update(turns)
    .where(*_THIS_TURN)
    .values(journal=bindparam("new_journal", type_=turns.c.journal.type))
)


def note(connection: Connection, call: SideEffect, output: str, *, session: AnyRow) -> None:
    """Add a tool output to the turn's journal. `session` is the row from `locks.hold`."""
    messages = [_storable(each) for each in (*call.messages, Message.tool(call.call, output))]
    *before, answer = by_database_clock(messages, since=session.started_at, at=session.at)
    journal = with_output(before, answer, kept=read(connection, call.turn))
    keep(connection, call.turn, journal)


def keep(connection: Connection, turn: TurnKey, journal: Sequence[Message]) -> None:
    connection.execute(_WRITE, {**_this(turn), "new_journal": list(map(_entry, journal))})


def take(connection: Connection, turn: TurnKey) -> tuple[Message, ...]:
    """Return the messages for the history of a turn whose ending has none."""
    return closed(read(connection, turn))


def by_database_clock(
    messages: Sequence[Message], *, since: datetime, at: datetime
) -> list[Message]:
    """Date the messages by the database's clock, between `since` and `at`.

    This worker's clock only tells the age of each message. The bounds correct even that if the
    clock has jumped meanwhile.
    """
    ours = now()
    return [
        replace(message, created_at=min(at, max(since, at - (ours - message.created_at))))
        for message in messages
    ]


def _storable(message: Message) -> Message:
    """Clean the texts. JSON would accept characters that the messages table refuses, and then the
    repair of the turn could not store them.
    """
    return replace(
        message,
        content=clean(message.content),
        tool_calls=tuple(
            ToolCall(clean(call.id), clean(call.name), clean(call.arguments))
            for call in message.tool_calls
        ),
        tool_call_id=message.tool_call_id and clean(message.tool_call_id),
        tool_name=message.tool_name and clean(message.tool_name),
    )


def read(connection: Connection, turn: TurnKey) -> list[Message]:
    entries = connection.scalar(_READ, _this(turn)) or []
    return [_message(entry) for entry in entries]


def _this(turn: TurnKey) -> dict[str, str]:
    return {"this_owner": turn.owner, "this_turn": turn.id}


def _entry(message: Message) -> dict[str, Any]:
    return {**message_row(message), "created_at": message.created_at.isoformat()}


def _message(entry: dict[str, Any]) -> Message:
    return Message(
        role=Role(entry["role"]),
        content=entry["content"],
        tool_calls=tuple(ToolCall(**call) for call in entry["tool_calls"] or ()),
        tool_call_id=entry["tool_call_id"],
        tool_name=entry["tool_name"],
        created_at=datetime.fromisoformat(entry["created_at"]),
    )
