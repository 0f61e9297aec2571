"""Look-ups of sessions, turns and messages in SQL, which also repair lost turns."""

from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import update_wrapper
from itertools import takewhile
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import BindParameter, Connection, Select, and_, bindparam, select

from backend.domain.conversation import Session, TurnRecord
from backend.domain.errors import SessionNotFound, TurnNotFound
from backend.domain.turn_keys import TurnKey
from backend.storage.ports.sessions import StoredMessage, StoredTurn
from backend.storage.sql import claims, endings, leases, logs
from backend.storage.sql.database import Database
from backend.storage.sql.failure_detector import FailureDetector
from backend.storage.sql.operations import SqlStore
from backend.storage.sql.rows import AnyRow, message_of, session_of, turn_of
from backend.storage.sql.tables import messages, sessions, turns
from backend.telemetry import lost_turns

P = ParamSpec("P")
T = TypeVar("T")

_OWNER: BindParameter[str] = bindparam("owner")
_SESSION_ID: BindParameter[str] = bindparam("session_id")
_GET = (
    select(
        sessions,
        turns.c.id.label("last_turn_id"),
        turns.c.outcome.label("last_outcome"),
        turns.c.finish_reason.label("last_finish_reason"),
    )
    .outerjoin(
        turns,
        and_(
            turns.c.owner == sessions.c.owner,
            turns.c.session_id == sessions.c.id,
            turns.c.number == sessions.c.turns,
        ),
    )
    .where(sessions.c.owner == _OWNER, sessions.c.id == _SESSION_ID)
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


def _messages(
    connection: Connection, owner: str, session_id: str, *, after: int = 0, limit: int | None = None
) -> list[StoredMessage]:
    behind = {"owner": owner, "session_id": session_id, "after": after}
    rows = connection.execute(_MESSAGES.limit(limit), behind).all()
    if not rows:
        get(connection, owner, session_id)
    return [message_of(row) for row in rows]


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

    get = _shown(leases.LOST_OF_SESSION, get)
    messages = _shown(leases.LOST_OF_SESSION, _messages)
    turns = _shown(leases.LOST_OF_SESSION, _turns)
    turn = _shown(leases.LOST_TURN, _turn)
    turn_with_log = _shown(leases.LOST_TURN, _settled)
    turn_with_key = _shown(leases.LOST_OF_SESSION, _settled_key)
