"""The two transactions of a turn: its claim and its end. Also the repair of a lost turn.

Each locks the row of the session first, and reads the other tables in later statements. One
statement for both would be wrong: after waiting for the lock, it would still see the other tables
as they were before the wait.

The lock statement also returns the time to store. It is the database's time, because the clocks of
two workers cannot be compared.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Float, and_, bindparam, case, func, select, update

from backend.domain.context_window import CHARACTERS_PER_TOKEN
from backend.domain.conversation import Message, Outcome, Role
from backend.domain.errors import SessionBusy, SessionNotFound
from backend.domain.turn_keys import TurnKey
from backend.storage.history import Window
from backend.storage.ports.sessions import (
    WORKER_LOST,
    AlreadyStarted,
    Claim,
    Ending,
    LostTurn,
    NewTurn,
)
from backend.storage.ports.side_effects import ClaimLost
from backend.storage.sql import histories, journals, leases, ledger, ledger_rows, logs
from backend.storage.sql.dialects import DatabaseNow, DatabaseTime, insert
from backend.storage.sql.rows import AnyRow, message_row
from backend.storage.sql.tables import messages, sessions, turns

_AT = DatabaseNow().label("at")
_STATE = (sessions.c.current_turn_id, sessions.c.turns, *histories.STATE, _AT)
_LOCK = (
    select(*_STATE)
    .where(sessions.c.owner == bindparam("owner"), sessions.c.id == bindparam("session_id"))
    .with_for_update()
)
_NEW_SESSION = insert(sessions).values(created_at=DatabaseNow())
# If two transactions create the same session, the later one waits here until the first has ended.
_MAKE = _NEW_SESSION.on_conflict_do_nothing(index_elements=[sessions.c.owner, sessions.c.id])
# Finds no row if the turn no longer holds its session. Locks the session's row alone.
_LOCK_OF_TURN = (
    select(
        sessions.c.owner,
        sessions.c.id,
        sessions.c.messages,
        sessions.c.spent,
        turns.c.started_at,
        _AT,
    )
    .join(turns, and_(turns.c.owner == sessions.c.owner, turns.c.session_id == sessions.c.id))
    .where(
        sessions.c.owner == bindparam("owner"),
        turns.c.id == bindparam("turn_id"),
        sessions.c.current_turn_id == turns.c.id,
    )
    .with_for_update(of=sessions)
)
_NEW_TURN = turns.insert()
_NEW_MESSAGES = messages.insert()
_THIS_TURN = (turns.c.owner == bindparam("this_owner"), turns.c.id == bindparam("this_turn"))
_CLOSE_TURN = update(turns).where(*_THIS_TURN)
_THIS_SESSION = (
    sessions.c.owner == bindparam("this_owner"),
    sessions.c.id == bindparam("this_session"),
)
# Each turn has one user message. Search backwards, because a client usually repeats a key soon
# after the turn began.
_QUERY = (
    select(messages.c.content)
    .where(
        messages.c.owner == bindparam("owner"),
        messages.c.session_id == bindparam("session_id"),
        messages.c.turn_id == bindparam("turn_id"),
        messages.c.role == Role.USER.value,
    )
    .order_by(messages.c.position.desc())
    .limit(1)
)
_TRACE_OF_TURN = select(turns.c.traceparent).where(*_THIS_TURN)
_WITH_KEY = select(turns.c.id).where(
    turns.c.owner == bindparam("owner"),
    turns.c.session_id == bindparam("session_id"),
    turns.c.idempotency_key == bindparam("key"),
)
# A turn voids the claim of a worker that was about to summarize the idle session. If the summary is
# wanted because of a cut, it stays useful, and goes on while the turn runs.
_IS_WANTED = sessions.c.summary_wanted.is_(True)
_UNTOLD = {
    "untold_since": DatabaseTime(),
    "summary_claim": case((_IS_WANTED, sessions.c.summary_claim), else_=None),
    "summary_not_before": case((_IS_WANTED, sessions.c.summary_not_before), else_=None),
    "summary_failures": case((_IS_WANTED, sessions.c.summary_failures), else_=0),
}
_LET_GO = update(sessions).where(*_THIS_SESSION).values(current_turn_id=None)
# A summary written after the turn was lost may lack its side effects, so a new one is due.
_LET_GO_WITH_MESSAGES = _LET_GO.values(
    messages=sessions.c.messages + bindparam("new_messages"), **_UNTOLD
)
_OPENED = (
    update(sessions)
    .where(*_THIS_SESSION)
    .values(
        turns=sessions.c.turns + 1,
        messages=sessions.c.messages + bindparam("new_messages"),
        history_start=bindparam("new_start"),
        earlier_summary=bindparam("new_earlier_summary"),
        earlier_until=bindparam("new_earlier_until"),
        summary_wanted=bindparam("wants_summary"),
        **_UNTOLD,
    )
)
_CLOSED = (
    update(sessions)
    .where(*_THIS_SESSION)
    .values(
        current_turn_id=None,
        messages=sessions.c.messages + bindparam("new_messages"),
        input_tokens=sessions.c.input_tokens + bindparam("new_input_tokens"),
        output_tokens=sessions.c.output_tokens + bindparam("new_output_tokens"),
        spent=bindparam("new_spent", type_=sessions.c.spent.type),
        characters_per_token=func.coalesce(
            bindparam("new_ratio", type_=Float), sessions.c.characters_per_token
        ),
        **_UNTOLD,
    )
)


def claim(
    connection: Connection,
    turn: NewTurn,
    *,
    history_tokens: int,
    beside_characters: int,
    lease_seconds: float,
    lost_after_seconds: Callable[[], float],
) -> Claim:
    session = _lock(connection, turn)
    # Before the check for a holder: a repeated query joins its own turn, even while that runs.
    _check_key(connection, turn)
    repaired, closed = 0, None
    if session.current_turn_id is not None:
        holder = TurnKey(turn.owner, session.current_turn_id)
        if leases.is_held(connection, holder, lost_after_seconds()):
            raise SessionBusy
        place = {"owner": turn.owner, "session_id": turn.session_id}
        lost = {**place, "turn_id": holder.id}
        repaired = _close_lost(connection, lost, behind=session.messages, at=session.at)
        closed = _lost(connection, lost)
    # In this transaction, or the turn of a worker without a lease would count as lost at once.
    leases.ensure(connection, turn.worker, lease_seconds)
    window, earlier = histories.look_back(
        connection,
        turn.owner,
        turn.session_id,
        session,
        behind=session.messages + repaired,
        room_characters=history_tokens * session.characters_per_token - beside_characters,
    )
    _open(connection, turn, session, window, repaired=repaired)
    return Claim(window.history, session.characters_per_token, earlier, lost=closed)


def finish(connection: Connection, ending: Ending, *, has_own_logs: bool) -> bool:
    """See `SessionStore.finish`. With `has_own_logs`, the log goes to the table of logs."""
    session = _lock_of(connection, ending.key)
    if session is None:
        return False
    place = {"owner": session.owner, "session_id": session.id, "turn_id": ending.turn_id}
    dated = journals.by_database_clock(ending.messages, since=session.started_at, at=session.at)
    # A minimal ending replaces one that the store refused, and has no messages. The journal still
    # knows the turn's side effects.
    added = dated or journals.take(connection, ending.key)
    _store(connection, added, behind=session.messages, place=place)
    row = _ending_row(ending, session.at)
    if has_own_logs:
        logs.store(connection, ending.key, session.at, row.pop("log"))
    connection.execute(_CLOSE_TURN, row)
    connection.execute(
        _CLOSED,
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


def _lock(connection: Connection, turn: NewTurn) -> AnyRow:
    key = {"owner": turn.owner, "session_id": turn.session_id}
    session = connection.execute(_LOCK, key).one_or_none()
    if session is not None:
        return session
    if not turn.creates_session:
        raise SessionNotFound
    connection.execute(_MAKE, new_session(turn.owner, turn.session_id))
    return connection.execute(_LOCK, key).one()


def new_session(owner: str, session_id: str) -> dict[str, Any]:
    """The values of a new session's row, except `created_at`."""
    return {
        "owner": owner,
        "id": session_id,
        "characters_per_token": CHARACTERS_PER_TOKEN,
    }


def settle(
    connection: Connection, turn: TurnKey, *, lost_after_seconds: Callable[[], float]
) -> LostTurn | None:
    """Close and return a turn whose worker is dead; None if it lives or the turn is closed."""
    session = _lock_of(connection, turn)
    # Check again under the lock: the worker may have renewed its lease meanwhile, or somebody else
    # may have closed the turn.
    if session is None or leases.is_held(connection, turn, lost_after_seconds()):
        return None
    lost = {"owner": session.owner, "session_id": session.id, "turn_id": turn.id}
    repaired = _close_lost(connection, lost, behind=session.messages, at=session.at)
    this = {"this_owner": session.owner, "this_session": session.id}
    if repaired:
        connection.execute(_LET_GO_WITH_MESSAGES, {**this, "new_messages": repaired})
    else:
        connection.execute(_LET_GO, this)
    return _lost(connection, lost)


def hold(connection: Connection, turn: TurnKey) -> AnyRow:
    """Lock the session of a turn until this transaction ends.

    So no other turn can take over the session while a side effect is stored.

    Raises:
        ClaimLost: the turn does not hold its session.
    """
    session = _lock_of(connection, turn)
    if session is None:
        raise ClaimLost
    return session


def _lock_of(connection: Connection, turn: TurnKey) -> AnyRow | None:
    place = {"owner": turn.owner, "turn_id": turn.id}
    return connection.execute(_LOCK_OF_TURN, place).one_or_none()


def _check_key(connection: Connection, turn: NewTurn) -> None:
    if turn.idempotency_key is None:
        return
    known = turn_with_key(connection, turn.owner, turn.session_id, turn.idempotency_key)
    if known is not None:
        raise AlreadyStarted(known)


def turn_with_key(connection: Connection, owner: str, session_id: str, key: str) -> str | None:
    place = {"owner": owner, "session_id": session_id, "key": key}
    turn_id: str | None = connection.scalar(_WITH_KEY, place)
    return turn_id


def query_of(connection: Connection, owner: str, session_id: str, turn_id: str) -> str:
    place = {"owner": owner, "session_id": session_id, "turn_id": turn_id}
    return str(connection.execute(_QUERY, place).scalar_one())


def _close_lost(connection: Connection, lost: dict[str, str], *, behind: int, at: datetime) -> int:
    """Close a turn whose worker is dead, and add its journal to the history.

    Returns the number of added messages.
    """
    done = journals.take(connection, TurnKey(lost["owner"], lost["turn_id"]))
    _store(connection, done, behind=behind, place=lost)
    connection.execute(
        _CLOSE_TURN,
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


def _lost(connection: Connection, lost: dict[str, str]) -> LostTurn:
    this = {"this_owner": lost["owner"], "this_turn": lost["turn_id"]}
    traceparent = connection.scalar(_TRACE_OF_TURN, this)
    return LostTurn(id=lost["turn_id"], session_id=lost["session_id"], traceparent=traceparent)


def _open(
    connection: Connection, turn: NewTurn, session: AnyRow, window: Window, *, repaired: int
) -> None:
    place = {"owner": turn.owner, "session_id": turn.session_id}
    connection.execute(
        _NEW_TURN,
        {
            **place,
            "id": turn.id,
            "number": session.turns + 1,
            "worker": turn.worker,
            "started_at": session.at,
            "idempotency_key": turn.idempotency_key,
            "traceparent": turn.traceparent,
        },
    )
    query = [replace(Message.user(turn.query), created_at=session.at)]
    behind = session.messages + repaired
    _store(connection, query, behind=behind, place={**place, "turn_id": turn.id})
    connection.execute(
        _OPENED,
        {
            "this_owner": turn.owner,
            "this_session": turn.session_id,
            "current_turn_id": turn.id,
            "last_turn_at": session.at,
            "new_messages": repaired + 1,
            **histories.columns_of(window),
        },
    )


def _store(
    connection: Connection, added: Sequence[Message], *, behind: int, place: dict[str, str]
) -> None:
    rows = [
        {**place, "position": position, **message_row(message)}
        for position, message in enumerate(added, start=behind + 1)
    ]
    if rows:
        connection.execute(_NEW_MESSAGES, rows)


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
