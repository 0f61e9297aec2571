"""The transaction that claims a session for a turn. `endings` has the one that ends the turn.

It locks the row of the session first, and reads the other tables in later statements. One statement
for both would be wrong: after waiting for the lock, it would still see the other tables as they
were before the wait.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, select, update

from backend.domain.context_window import CHARACTERS_PER_TOKEN
from backend.domain.conversation import Message, Role
from backend.domain.errors import NothingToReplace, SessionBusy, SessionNotFound
from backend.domain.turn_keys import TurnKey
from backend.storage.history import Window, given_messages, without_later
from backend.storage.ports.sessions import AlreadyStarted, Claim, NewTurn
from backend.storage.sql import endings, histories, leases, replacing
from backend.storage.sql.dialects import DatabaseNow, DatabaseTime, insert
from backend.storage.sql.locks import AT, THIS_SESSION, UNTOLD
from backend.storage.sql.own_lease import OwnLease
from backend.storage.sql.rows import AnyRow
from backend.storage.sql.tables import messages, sessions, turns
from backend.storage.sql.writes import Write

_STATE = (sessions.c.current_turn_id, sessions.c.turns, *histories.STATE, AT)
_LOCK = (
    select(*_STATE)
    .where(sessions.c.owner == bindparam("owner"), sessions.c.id == bindparam("session_id"))
    .with_for_update()
)
# If two transactions create the same session, the later one waits here until the first has ended.
# It then gets no row.
_MAKE_SESSION = (
    insert(sessions)
    .values(created_at=DatabaseNow())
    .on_conflict_do_nothing(index_elements=[sessions.c.owner, sessions.c.id])
    .returning(sessions.c.created_at)
)
_NEW_SESSION = _MAKE_SESSION.values(
    last_turn_at=DatabaseNow(),
    untold_since=DatabaseTime(),
    summary_failures=0,
    turns=1,
    messages=1,
)
_NEW_TURN = Write(turns.insert())
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
_WITH_KEY = select(turns.c.id).where(
    turns.c.owner == bindparam("owner"),
    turns.c.session_id == bindparam("session_id"),
    turns.c.idempotency_key == bindparam("key"),
)
_OPENED = Write(
    update(sessions)
    .where(*THIS_SESSION)
    .values(
        turns=sessions.c.turns + 1,
        messages=bindparam("last_position"),
        history_start=bindparam("new_start"),
        earlier_summary=bindparam("new_earlier_summary"),
        earlier_until=bindparam("new_earlier_until"),
        summary_wanted=bindparam("wants_summary"),
        **UNTOLD,
    )
)


def claim(
    connection: Connection,
    turn: NewTurn,
    *,
    history_tokens: int,
    beside_characters: int,
    lease: OwnLease,
    lost_after_seconds: Callable[[], float],
) -> Claim:
    session = connection.execute(_LOCK, _place_of(turn)).one_or_none()
    if session is None:
        if not turn.creates_session:
            raise SessionNotFound
        if turn.replaces is not None:
            raise NothingToReplace
        if turn.given:
            _make_session_with_given(connection, turn)
        elif at := _make_session(connection, turn):
            lease.ensure(connection, turn.worker, at)
            _store(connection, turn, number=1, position=1, at=at)
            return Claim((), CHARACTERS_PER_TOKEN)
        session = connection.execute(_LOCK, _place_of(turn)).one()
    # Before the check for a holder: a repeated query joins its own turn, even while that runs.
    _check_key(connection, turn)
    repaired, closed = 0, None
    if session.current_turn_id is not None:
        holder = TurnKey(turn.owner, session.current_turn_id)
        if leases.is_held(connection, holder, lost_after_seconds()):
            raise SessionBusy
        lost = {**_place_of(turn), "turn_id": holder.id}
        repaired = endings.close_lost(connection, lost, behind=session.messages, at=session.at)
        closed = endings.lost_turn(connection, lost)
    # In this transaction, or the turn of a worker without a lease would count as lost at once.
    lease.ensure(connection, turn.worker, session.at)
    last, newest = histories.state_of(session)
    behind = session.messages + repaired
    if turn.replaces is not None:
        behind = replacing.take_back(connection, turn, turn.replaces)
        last, newest = without_later(last, newest, behind=behind)
        replacing.keep_summary(connection, turn, newest)
    window, earlier = histories.look_back(
        connection,
        turn.owner,
        turn.session_id,
        last,
        newest,
        behind=behind,
        turns=session.turns,
        room_characters=history_tokens * session.characters_per_token - beside_characters,
    )
    _open(connection, turn, session, window, behind=behind)
    return Claim(window.history, session.characters_per_token, earlier, lost=closed)


def _make_session(connection: Connection, turn: NewTurn) -> datetime | None:
    """Make a session that the turn holds. Returns the time; None if there is one meanwhile."""
    session = {**new_session(turn.owner, turn.session_id), "current_turn_id": turn.id}
    at: datetime | None = connection.scalar(_NEW_SESSION, session)
    return at


def _make_session_with_given(connection: Connection, turn: NewTurn) -> None:
    """Make a session with the given messages and without a turn, unless there is one meanwhile."""
    session = {**new_session(turn.owner, turn.session_id), "messages": len(turn.given)}
    at: datetime | None = connection.scalar(_MAKE_SESSION, session)
    if at is not None:
        endings.store(connection, given_messages(turn.given, at), **_place_of(turn))


def new_session(owner: str, session_id: str) -> dict[str, Any]:
    """The values of a new session's row, except `created_at`."""
    return {
        "owner": owner,
        "id": session_id,
        "characters_per_token": CHARACTERS_PER_TOKEN,
    }


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


def query_of(connection: Connection, owner: str, session_id: str, turn_id: str) -> str | None:
    """Return the question of a turn, also if the turn was replaced."""
    place = {"owner": owner, "session_id": session_id, "turn_id": turn_id}
    query: str | None = connection.scalar(_QUERY, place)
    return replacing.question_of(connection, TurnKey(owner, turn_id)) if query is None else query


def _open(
    connection: Connection, turn: NewTurn, session: AnyRow, window: Window, *, behind: int
) -> None:
    _store(connection, turn, number=session.turns + 1, position=behind + 1, at=session.at)
    _OPENED.run(
        connection,
        {
            "this_owner": turn.owner,
            "this_session": turn.session_id,
            "current_turn_id": turn.id,
            "last_turn_at": session.at,
            "last_position": behind + 1,
            **histories.columns_of(window),
        },
    )


def _store(
    connection: Connection, turn: NewTurn, *, number: int, position: int, at: datetime
) -> None:
    """Store the turn, and its query at that position of the session."""
    place = _place_of(turn)
    _NEW_TURN.run(
        connection,
        {
            **place,
            "id": turn.id,
            "number": number,
            "worker": turn.worker,
            "started_at": at,
            "idempotency_key": turn.idempotency_key,
            "traceparent": turn.traceparent,
        },
    )
    query = [replace(Message.user(turn.query), created_at=at)]
    endings.store_messages(
        connection, query, behind=position - 1, place={**place, "turn_id": turn.id}
    )


def _place_of(turn: NewTurn) -> dict[str, str]:
    return {"owner": turn.owner, "session_id": turn.session_id}
