"""The transaction that ends a turn, and the repair of a lost turn.

Each locks the row of the session first, and reads the other tables in later statements. One
statement for both would be wrong: after waiting for the lock, it would still see the other tables
as they were before the wait.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Float, bindparam, func, select, update

from backend.domain.conversation import Message, Outcome
from backend.domain.turn_keys import TurnKey
from backend.storage.ports.sessions import WORKER_LOST, Ending, LostTurn, StoredMessage
from backend.storage.sql import journals, leases, ledger, ledger_rows, locks, logs
from backend.storage.sql.locks import THIS_SESSION, UNTOLD
from backend.storage.sql.rows import message_row
from backend.storage.sql.tables import messages, sessions, turns
from backend.storage.sql.writes import Write

_NEW_MESSAGES = Write(messages.insert())
_THIS_TURN = (turns.c.owner == bindparam("this_owner"), turns.c.id == bindparam("this_turn"))
_CLOSE_TURN = Write(update(turns).where(*_THIS_TURN))
_ENDED_ITSELF = select(turns.c.finished_at).where(
    *_THIS_TURN, turns.c.error_code.is_distinct_from(WORKER_LOST)
)
_TRACE_OF_TURN = select(turns.c.traceparent).where(*_THIS_TURN)
_LET_GO = update(sessions).where(*THIS_SESSION).values(current_turn_id=None)
# A summary written after the turn was lost may lack its side effects, so a new one is due.
_LET_GO_WITH_MESSAGES = _LET_GO.values(
    messages=sessions.c.messages + bindparam("new_messages"), **UNTOLD
)
_CLOSED = Write(
    update(sessions)
    .where(*THIS_SESSION)
    .values(
        current_turn_id=None,
        messages=sessions.c.messages + bindparam("new_messages"),
        input_tokens=sessions.c.input_tokens + bindparam("new_input_tokens"),
        output_tokens=sessions.c.output_tokens + bindparam("new_output_tokens"),
        spent=bindparam("new_spent", type_=sessions.c.spent.type),
        characters_per_token=func.coalesce(
            bindparam("new_ratio", type_=Float), sessions.c.characters_per_token
        ),
        **UNTOLD,
    )
)


def finish(connection: Connection, ending: Ending, *, has_own_logs: bool) -> bool:
    """See `SessionStore.finish`. With `has_own_logs`, the log goes to the table of logs."""
    session = locks.of_turn(connection, ending.key)
    if session is None:
        return ending.may_be_stored and _amend(connection, ending)
    place = {"owner": session.owner, "session_id": session.id, "turn_id": ending.turn_id}
    dated = journals.by_database_clock(ending.messages, since=session.started_at, at=session.at)
    # A minimal ending replaces one that the store refused, and has no messages. The journal still
    # knows the turn's side effects.
    added = dated or journals.take(connection, ending.key)
    store_messages(connection, added, behind=session.messages, place=place)
    row = _ending_row(ending, session.at)
    if has_own_logs:
        logs.store(connection, ending.key, session.at, row.pop("log"))
    _CLOSE_TURN.run(connection, row)
    _CLOSED.run(
        connection,
        {
            "this_owner": session.owner,
            "this_session": session.id,
            "last_turn_at": session.at,
            "new_messages": len(added),
            "new_input_tokens": ending.usage.input_tokens,
            "new_output_tokens": ending.usage.output_tokens,
            "new_spent": ledger_rows.added(session.spent, ending.calls),
            "new_ratio": ending.characters_per_token,
        },
    )
    ledger.enter(connection, session.owner, ending.calls, session.at)
    return True


def _amend(connection: Connection, ending: Ending) -> bool:
    """Replace the log of a turn that an earlier attempt has ended. Returns whether one has.

    Only the turn's worker ends it, except as lost.
    """
    this = {"this_owner": ending.owner, "this_turn": ending.turn_id}
    finished_at = connection.scalar(_ENDED_ITSELF, this)
    if finished_at is None:
        return False
    logs.replace(connection, ending.key, finished_at, ending.log)
    return True


def settle(
    connection: Connection, turn: TurnKey, *, lost_after_seconds: Callable[[], float]
) -> LostTurn | None:
    """Close and return a turn whose worker is dead; None if it lives or the turn is closed."""
    session = locks.of_turn(connection, turn)
    # Check again under the lock: the worker may have renewed its lease meanwhile, or somebody else
    # may have closed the turn.
    if session is None or leases.is_held(connection, turn, lost_after_seconds()):
        return None
    lost = {"owner": session.owner, "session_id": session.id, "turn_id": turn.id}
    repaired = close_lost(connection, lost, behind=session.messages, at=session.at)
    this = {"this_owner": session.owner, "this_session": session.id}
    if repaired:
        connection.execute(_LET_GO_WITH_MESSAGES, {**this, "new_messages": repaired})
    else:
        connection.execute(_LET_GO, this)
    return lost_turn(connection, lost)


def close_lost(connection: Connection, lost: dict[str, str], *, behind: int, at: datetime) -> int:
    """Close a turn whose worker is dead, and add its journal to the history.

    Returns the number of added messages.
    """
    done = journals.take(connection, TurnKey(lost["owner"], lost["turn_id"]))
    store_messages(connection, done, behind=behind, place=lost)
    _CLOSE_TURN.run(
        connection,
        {
            "this_owner": lost["owner"],
            "this_turn": lost["turn_id"],
            "finished_at": at,
            "outcome": Outcome.FAILED.value,
            "error_code": WORKER_LOST,
            "journal": None,
        },
    )
    return len(done)


def lost_turn(connection: Connection, lost: dict[str, str]) -> LostTurn:
    this = {"this_owner": lost["owner"], "this_turn": lost["turn_id"]}
    traceparent = connection.scalar(_TRACE_OF_TURN, this)
    return LostTurn(id=lost["turn_id"], session_id=lost["session_id"], traceparent=traceparent)


def store_messages(
    connection: Connection, added: Sequence[Message], *, behind: int, place: dict[str, str]
) -> None:
    rows = [
        {**place, "position": position, **message_row(message)}
        for position, message in enumerate(added, start=behind + 1)
    ]
    if rows:
        _NEW_MESSAGES.run_many(connection, rows)


def store(
    connection: Connection, added: Sequence[StoredMessage], *, owner: str, session_id: str
) -> None:
    """Store messages of several turns."""
    place = {"owner": owner, "session_id": session_id}
    rows = [
        {
            **place,
            "turn_id": each.turn_id,
            "position": each.position,
            **message_row(each.message),
        }
        for each in added
    ]
    if rows:
        _NEW_MESSAGES.run_many(connection, rows)


def _ending_row(ending: Ending, at: datetime) -> dict[str, Any]:
    return {
        "this_owner": ending.owner,
        "this_turn": ending.turn_id,
        "finished_at": at,
        "outcome": ending.outcome.value,
        "error_code": ending.error_code,
        "finish_reason": ending.finish_reason,
        "model": ending.model,
        "rounds": ending.rounds,
        "input_tokens": ending.usage.input_tokens,
        "output_tokens": ending.usage.output_tokens,
        "first_chunk_seconds": ending.first_chunk_seconds,
        "log": ending.log,
        "journal": None,
        "calls": [ledger_rows.entry_of(call) for call in ending.calls],
    }
