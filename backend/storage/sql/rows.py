"""Converts between rows and the domain's plain data."""

from typing import Any

from sqlalchemy import Row

from backend.domain.conversation import (
    LastTurn,
    Message,
    Outcome,
    Role,
    Session,
    ToolCall,
    TurnRecord,
)
from backend.domain.titles import title_of
from backend.domain.usage import Usage
from backend.storage.ports.appointments import Appointment, Booking
from backend.storage.ports.sessions import StoredMessage
from backend.storage.sql.ledger_rows import calls_in, spent_in

AnyRow = Row[*tuple[Any, ...]]


def session_of(row: AnyRow) -> Session:
    return Session(
        id=row.id,
        created_at=row.created_at,
        last_turn_at=row.last_turn_at,
        turns=row.turns,
        usage=Usage(row.input_tokens, row.output_tokens),
        spent=spent_in(row.spent),
        summary=row.summary,
        last_turn=_last_turn_of(row),
        running_turn_id=row.current_turn_id,
        title=row.title or title_of(row.first_question),
    )


def _last_turn_of(row: AnyRow) -> LastTurn | None:
    if row.last_turn_id is None:
        return None
    outcome = row.last_outcome and Outcome(row.last_outcome)
    return LastTurn(row.last_turn_id, outcome, row.last_finish_reason)


def turn_of(row: AnyRow) -> TurnRecord:
    return TurnRecord(
        id=row.id,
        session_id=row.session_id,
        started_at=row.started_at,
        finished_at=row.finished_at,
        outcome=row.outcome and Outcome(row.outcome),
        error_code=row.error_code,
        finish_reason=row.finish_reason,
        model=row.model,
        rounds=row.rounds,
        usage=Usage(row.input_tokens, row.output_tokens),
        calls=calls_in(row.calls),
        first_chunk_seconds=row.first_chunk_seconds,
        traceparent=getattr(row, "traceparent", None),
    )


def message_of(row: AnyRow) -> StoredMessage:
    message = Message(
        role=Role(row.role),
        content=row.content,
        tool_calls=tuple(ToolCall(**call) for call in row.tool_calls or ()),
        tool_call_id=row.tool_call_id,
        tool_name=row.tool_name,
        created_at=row.created_at,
    )
    return StoredMessage(row.position, row.turn_id, message)


def message_row(message: Message) -> dict[str, Any]:
    """The values of a message's row, except its session, turn and position."""
    return {
        "role": message.role.value,
        "content": message.content,
        "tool_calls": [_call_row(call) for call in message.tool_calls] or None,
        "tool_call_id": message.tool_call_id,
        "tool_name": message.tool_name,
        "created_at": message.created_at,
    }


def _call_row(call: ToolCall) -> dict[str, str]:
    return {"id": call.id, "name": call.name, "arguments": call.arguments}


def booking_of(row: AnyRow) -> Booking:
    appointment = Appointment(
        user_id=row.user_id,
        dealership_id=row.dealership_id,
        date=row.date,
        time=row.time,
        car_model=row.car_model,
    )
    return Booking(row.confirmation_id, appointment, row.turn_id)
