"""Look-ups of sessions, turns and messages in SQL, which also repair lost turns."""

from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import datetime
from functools import update_wrapper
from itertools import takewhile
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import (
    BindParameter,
    Column,
    Connection,
    Integer,
    Select,
    and_,
    bindparam,
    case,
    func,
    or_,
    select,
)

from backend.domain.conversation import Role, Session, TurnRecord
from backend.domain.errors import SessionNotFound, TurnNotFound
from backend.domain.titles import MOST_CHARACTERS
from backend.domain.turn_keys import TurnKey
from backend.storage.message_numbers import numbered
from backend.storage.ports.sessions import SessionPlace, StoredMessage, StoredTurn, place_of
from backend.storage.sql import claims, endings, leases, logs
from backend.storage.sql.database import Database
from backend.storage.sql.dialects import UtcDateTime
from backend.storage.sql.failure_detector import FailureDetector
from backend.storage.sql.operations import SqlStore
from backend.storage.sql.rows import AnyRow, message_of, session_of, turn_of
from backend.storage.sql.tables import messages, sessions, turns
from backend.telemetry import lost_turns

P = ParamSpec("P")
T = TypeVar("T")

_OWNER: BindParameter[str] = bindparam("owner")
_SESSION_ID: BindParameter[str] = bindparam("session_id")
# Given messages may begin with the assistant's.
_FIRST_QUESTION = (
    select(func.substr(messages.c.content, 1, MOST_CHARACTERS))
    .where(
        messages.c.owner == sessions.c.owner,
        messages.c.session_id == sessions.c.id,
        messages.c.role == Role.USER.value,
    )
    .order_by(messages.c.position)
    .limit(1)
    .correlate(sessions)
    .scalar_subquery()
)
_SESSION = (
    select(
        sessions,
        turns.c.id.label("last_turn_id"),
        turns.c.outcome.label("last_outcome"),
        turns.c.finish_reason.label("last_finish_reason"),
        case((sessions.c.title.is_(None), _FIRST_QUESTION)).label("first_question"),
    )
    .outerjoin(
        turns,
        and_(
            turns.c.owner == sessions.c.owner,
            turns.c.session_id == sessions.c.id,
            turns.c.number == sessions.c.turns,
        ),
    )
    .where(sessions.c.owner == _OWNER)
)
_GET = _SESSION.where(sessions.c.id == _SESSION_ID)
_AT: BindParameter[datetime] = bindparam("at", type_=UtcDateTime)


def _pages(last_use: Column[datetime]) -> tuple[Select[Any], Select[Any]]:
    """The first page of sessions by the time of their last use, and the one behind a place."""
    first = _SESSION.order_by(last_use.desc(), sessions.c.id.desc()).limit(
        bindparam("limit", type_=Integer)
    )
    # Not `(last_use, id) < (:at, :id)`: SQLite would read the index from its beginning.
    return first, first.where(last_use <= _AT, or_(last_use < _AT, sessions.c.id < _SESSION_ID))


# Apart, because SQLAlchemy does not know SQLite's indexes on expressions such as `coalesce`.
_USED, USED_BEHIND = (
    page.where(sessions.c.last_turn_at.is_not(None)) for page in _pages(sessions.c.last_turn_at)
)
_UNUSED, UNUSED_BEHIND = (
    page.where(sessions.c.last_turn_at.is_(None)) for page in _pages(sessions.c.created_at)
)
_MESSAGES = (
    select(messages)
    .where(
        messages.c.owner == _OWNER,
        messages.c.session_id == _SESSION_ID,
        messages.c.position > bindparam("after"),
    )
    .order_by(messages.c.position)
)
# The position before the first message of a turn, of which one message is known.
_BEFORE_TURN = (
    select(messages.c.position)
    .where(
        messages.c.owner == _OWNER,
        messages.c.session_id == _SESSION_ID,
        messages.c.position < bindparam("before"),
        messages.c.turn_id != bindparam("turn_id"),
    )
    .order_by(messages.c.position.desc())
    .limit(1)
)
# The columns before the log, which may have megabytes. SQLite reads the others without its pages.
_TURN_COLUMNS = select(
    *takewhile(lambda column: column is not turns.c.log, turns.c),
    turns.c.finish_reason,
    turns.c.calls,
)
_TURNS = _TURN_COLUMNS.where(turns.c.owner == _OWNER, turns.c.session_id == _SESSION_ID).order_by(
    turns.c.number
)
_THIS_TURN = (turns.c.owner == _OWNER, turns.c.id == bindparam("turn_id"))
_TURN = _TURN_COLUMNS.where(*_THIS_TURN)
_STORED_TURN = _TURN.add_columns(logs.LOG, turns.c.traceparent).select_from(logs.WITH_TURNS)


def get(connection: Connection, owner: str, session_id: str) -> Session:
    key = {"owner": owner, "session_id": session_id}
    row = connection.execute(_GET, key).one_or_none()
    if row is None:
        raise SessionNotFound
    return session_of(row)


def _of_owner(
    connection: Connection,
    owner: str,
    *,
    after: SessionPlace | None,
    limit: int,
    lost_after_seconds: Callable[[], float],
) -> tuple[list[Session], list[TurnKey]]:
    """Return the sessions, and their turns whose workers are dead."""
    page: dict[str, Any] = {"owner": owner, "limit": limit}
    used, unused = _USED, _UNUSED
    if after is not None:
        used, unused = USED_BEHIND, UNUSED_BEHIND
        page |= {"at": after.last_used_at, "session_id": after.session_id}
    found = [
        session_of(row)
        for select_page in (used, unused)
        for row in connection.execute(select_page, page)
    ]
    listed = sorted(found, key=place_of, reverse=True)[:limit]
    held = [session.id for session in listed if session.running_turn_id]
    if not held:
        return listed, []
    of_these = {"owner": owner, "of": held, "lease_seconds": lost_after_seconds()}
    return listed, [TurnKey(*row) for row in connection.execute(leases.LOST_OF_SESSIONS, of_these)]


def _messages(
    connection: Connection, owner: str, session_id: str, *, after: int = 0, limit: int | None = None
) -> list[StoredMessage]:
    behind = {"owner": owner, "session_id": session_id, "after": after}
    look_up = _MESSAGES if limit is None else _MESSAGES.limit(limit)
    rows = connection.execute(look_up, behind).all()
    if not rows:
        get(connection, owner, session_id)
        return []
    found = [message_of(row) for row in rows]
    if not after:
        return numbered(found, before=0)
    first = {**behind, "before": found[0].position, "turn_id": found[0].turn_id}
    return numbered(found, before=connection.scalar(_BEFORE_TURN, first) or 0)


def _turns(connection: Connection, owner: str, session_id: str) -> list[TurnRecord]:
    rows = connection.execute(_TURNS, {"owner": owner, "session_id": session_id}).all()
    if not rows:
        get(connection, owner, session_id)
    return [turn_of(row) for row in rows]


def _turn(connection: Connection, owner: str, turn_id: str) -> TurnRecord:
    return turn_of(_turn_row(connection, _TURN, owner, turn_id))


# Metrics use the names of transactions as label values, so do not rename `_settled`,
# `_settled_key` and `endings.settle`.
def _settled(connection: Connection, owner: str, turn_id: str) -> StoredTurn:
    row = _turn_row(connection, _STORED_TURN, owner, turn_id)
    return StoredTurn(turn_of(row), row.log)


def _turn_row(connection: Connection, look_up: Select[Any], owner: str, turn_id: str) -> AnyRow:
    row = connection.execute(look_up, {"owner": owner, "turn_id": turn_id}).one_or_none()
    if row is None:
        raise TurnNotFound
    return row


def _settled_key(
    connection: Connection, owner: str, session_id: str, key: str
) -> StoredTurn | None:
    turn_id = claims.turn_with_key(connection, owner, session_id, key)
    if turn_id is None:
        return None
    turn = _settled(connection, owner, turn_id)
    return replace(turn, query=claims.query_of(connection, owner, session_id, turn_id))


def _shown(
    lost: Select[Any], look_up: Callable[Concatenate[Connection, str, str, P], T]
) -> Callable[Concatenate["LookUps", str, str, P], Coroutine[Any, Any, T]]:
    """Make a look-up that first closes a running turn whose worker is dead.

    In the usual case it is one read. Only a repair writes, and then the look-up runs again.
    """

    def noticing(
        connection: Connection,
        lost_after_seconds: Callable[[], float],
        owner: str,
        id_: str,
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> tuple[T, TurnKey | None]:
        """Return the result, and the key of a lost turn if there is one."""
        found = look_up(connection, owner, id_, *args, **kwargs)
        values = {"owner": owner, "of": id_, "lease_seconds": lost_after_seconds()}
        row = connection.execute(lost, values).first()
        return found, None if row is None else TurnKey(*row)

    update_wrapper(noticing, look_up)  # metrics call it by its name

    async def show(
        self: "LookUps", owner: str, id_: str, /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        lost_after_seconds = self.detector.lost_after_seconds
        found, turn = await self.database.read(
            noticing, lost_after_seconds, owner, id_, *args, **kwargs
        )
        if turn is None:
            return found
        await self.settle(turn, lost_after_seconds=lost_after_seconds)
        return await self.database.read(look_up, owner, id_, *args, **kwargs)

    return show


class LookUps(SqlStore):
    def __init__(self, database: Database, detector: FailureDetector) -> None:
        super().__init__(database)
        self.detector = detector

    async def settle(self, turn: TurnKey, *, lost_after_seconds: Callable[[], float]) -> bool:
        """Close and count a turn whose worker is dead. Return whether it was still open."""
        lost = await self.database.run(endings.settle, turn, lost_after_seconds=lost_after_seconds)
        if lost is not None:
            lost_turns.report(lost.id, session_id=lost.session_id, traceparent=lost.traceparent)
        return lost is not None

    async def of_owner(
        self, owner: str, *, after: SessionPlace | None = None, limit: int
    ) -> list[Session]:
        found, lost = await self._of_owner(owner, after=after, limit=limit)
        if lost:
            for turn in lost:
                await self.settle(turn, lost_after_seconds=self.detector.lost_after_seconds)
            found, _ = await self._of_owner(owner, after=after, limit=limit)
        return found

    async def _of_owner(
        self, owner: str, *, after: SessionPlace | None, limit: int
    ) -> tuple[list[Session], list[TurnKey]]:
        return await self.database.read(
            _of_owner,
            owner,
            after=after,
            limit=limit,
            lost_after_seconds=self.detector.lost_after_seconds,
        )

    get = _shown(leases.LOST_OF_SESSION, get)
    messages = _shown(leases.LOST_OF_SESSION, _messages)
    turns = _shown(leases.LOST_OF_SESSION, _turns)
    turn = _shown(leases.LOST_TURN, _turn)
    turn_with_log = _shown(leases.LOST_TURN, _settled)
    turn_with_key = _shown(leases.LOST_OF_SESSION, _settled_key)
