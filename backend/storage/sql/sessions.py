"""Sessions, turns and messages in SQL. What holds a session is in `claims` and `leases`."""

import math
import time
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from itertools import takewhile
from typing import Any

from sqlalchemy import (
    BindParameter,
    Connection,
    Select,
    bindparam,
    delete,
    func,
    select,
    tuple_,
    update,
)

from backend.conversation import Session, TurnRecord, now
from backend.errors import SessionNotFound, StorageError, TurnNotFound
from backend.storage.ports.sessions import (
    Claim,
    Ending,
    Holder,
    NewTurn,
    StopRequest,
    StoredMessage,
)
from backend.storage.sql import claims, elsewhere, leases
from backend.storage.sql.database import Database
from backend.storage.sql.dialects import insert
from backend.storage.sql.rows import message_of, session_of, turn_of
from backend.storage.sql.tables import messages, sessions, turns

_OWNER: BindParameter[str] = bindparam("owner")
_SESSION_ID: BindParameter[str] = bindparam("session_id")
_CREATE = insert(sessions).on_conflict_do_nothing(index_elements=[sessions.c.owner, sessions.c.id])
_GET = select(sessions).where(sessions.c.owner == _OWNER, sessions.c.id == _SESSION_ID)
_DELETE = delete(sessions).where(sessions.c.owner == _OWNER, sessions.c.id == _SESSION_ID)
_MESSAGES = (
    select(messages)
    .where(
        messages.c.owner == _OWNER,
        messages.c.session_id == _SESSION_ID,
        messages.c.position > bindparam("after"),
    )
    .order_by(messages.c.position)
)
_TURN_COLUMNS = select(*takewhile(lambda column: column is not turns.c.log, turns.c))
_TURNS = _TURN_COLUMNS.where(turns.c.owner == _OWNER, turns.c.session_id == _SESSION_ID).order_by(
    turns.c.number
)
_THIS_TURN = (turns.c.owner == _OWNER, turns.c.id == bindparam("turn_id"))
_TURN = _TURN_COLUMNS.where(*_THIS_TURN)
_TURN_WITH_TRACE = _TURN.add_columns(turns.c.traceparent)
PURGED_AT_ONCE = 1000
_OLD_LOGS = (
    select(turns.c.id)
    .where(turns.c.log.is_not(None), turns.c.finished_at < bindparam("before"))
    .limit(PURGED_AT_ONCE)
)
_PURGE_LOGS = update(turns).where(turns.c.id.in_(_OLD_LOGS)).values(log=None)
# A turn that holds a session begins long after `before`, unless its worker died with it.
_OLD_SESSIONS = (
    select(sessions.c.owner, sessions.c.id)
    .where(func.coalesce(sessions.c.last_turn_at, sessions.c.created_at) < bindparam("before"))
    .limit(PURGED_AT_ONCE)
    .with_for_update(skip_locked=True)  # another worker is at them
)
_PURGE_SESSIONS = delete(sessions).where(tuple_(sessions.c.owner, sessions.c.id).in_(_OLD_SESSIONS))
_TURN_LOG = select(turns.c.log).where(*_THIS_TURN)


class SqlSessions:
    def __init__(
        self,
        database: Database,
        *,
        lease_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._may_judge_from = -math.inf

    @property
    def _patience_seconds(self) -> float:
        """A worker that is silent for longer is gone. While we could not renew our own lease,
        and for a lease after that, nobody is: they could not either.
        """
        return self._lease_seconds if self._clock() >= self._may_judge_from else math.inf

    async def create(self, owner: str, session_id: str) -> Session:
        return await self._database.run(_create, owner, session_id)

    async def get(self, owner: str, session_id: str) -> Session:
        return await self._database.run(_get, owner, session_id)

    async def delete(self, owner: str, session_id: str) -> None:
        await self._database.run(_delete, owner, session_id)

    async def messages(
        self, owner: str, session_id: str, *, after: int = 0, limit: int | None = None
    ) -> Sequence[StoredMessage]:
        return await self._database.run(_messages, owner, session_id, after, limit)

    async def turns(self, owner: str, session_id: str) -> Sequence[TurnRecord]:
        return await self._database.run(_turns, owner, session_id)

    async def turn(self, owner: str, turn_id: str) -> TurnRecord:
        return await self._database.run(_turn, owner, turn_id)

    async def turn_with_key(self, owner: str, session_id: str, key: str) -> str | None:
        return await self._database.run(claims.turn_with_key, owner, session_id, key)

    async def settle(self, owner: str, turn_id: str) -> TurnRecord:
        return await self._database.run(_settled, owner, turn_id, self._patience_seconds)

    async def purge_logs(self, *, before: datetime) -> None:
        while await self._database.run(_purge_logs, before) == PURGED_AT_ONCE:
            pass  # in between, others have their turn

    async def purge_sessions(self, *, before: datetime) -> None:
        while await self._database.run(_purge_sessions, before) == PURGED_AT_ONCE:
            pass

    async def request_stop(self, owner: str, turn_id: str) -> Holder:
        return await self._database.run(elsewhere.request_stop, owner, turn_id)

    async def request_end(
        self, owner: str, session_id: str, *, unless_read: bool = False
    ) -> Holder | None:
        return await self._database.run(
            elsewhere.request_end,
            owner,
            session_id,
            unless_read=unless_read,
            lease_seconds=self._patience_seconds,
        )

    async def running(self, turn_ids: Collection[str]) -> frozenset[str]:
        return await self._database.run(elsewhere.running, turn_ids, self._patience_seconds)

    async def is_followed(self, turn_id: str) -> bool:
        return await self._database.run(elsewhere.is_followed, turn_id, self._patience_seconds)

    async def turn_log(self, owner: str, turn_id: str) -> bytes | None:
        return await self._database.run(_turn_log, owner, turn_id)

    async def claim(self, turn: NewTurn, *, history_tokens: int) -> Claim:
        return await self._database.run(
            claims.claim,
            turn,
            history_tokens=history_tokens,
            lease_seconds=self._lease_seconds,
            patience_seconds=self._patience_seconds,
        )

    async def finish(self, ending: Ending) -> bool:
        return await self._database.run(claims.finish, ending)

    async def renew(
        self, worker: str, *, deserted: Collection[str] = (), followed: Collection[str] = ()
    ) -> Sequence[StopRequest]:
        try:
            return await self._database.run(elsewhere.renew, worker, deserted, followed)
        except StorageError:
            self._may_judge_from = self._clock() + self._lease_seconds
            raise

    async def retire(self, worker: str) -> None:
        await self._database.run(leases.retire, worker)


def _create(connection: Connection, owner: str, session_id: str) -> Session:
    connection.execute(_CREATE, claims.new_session(owner, session_id, now()))
    return _get(connection, owner, session_id)


def _get(connection: Connection, owner: str, session_id: str) -> Session:
    key = {"owner": owner, "session_id": session_id}
    row = connection.execute(_GET, key).one_or_none()
    if row is None:
        raise SessionNotFound
    return session_of(row)


def _delete(connection: Connection, owner: str, session_id: str) -> None:
    deleted = connection.execute(_DELETE, {"owner": owner, "session_id": session_id})
    if not deleted.rowcount:
        raise SessionNotFound


def _messages(
    connection: Connection, owner: str, session_id: str, after: int, limit: int | None
) -> list[StoredMessage]:
    behind = {"owner": owner, "session_id": session_id, "after": after}
    rows = connection.execute(_MESSAGES.limit(limit), behind).all()
    if not rows:
        _get(connection, owner, session_id)
    return [message_of(row) for row in rows]


def _turns(connection: Connection, owner: str, session_id: str) -> list[TurnRecord]:
    rows = connection.execute(_TURNS, {"owner": owner, "session_id": session_id}).all()
    if not rows:
        _get(connection, owner, session_id)
    return [turn_of(row) for row in rows]


def _turn(
    connection: Connection, owner: str, turn_id: str, look_up: Select[Any] = _TURN
) -> TurnRecord:
    row = connection.execute(look_up, {"owner": owner, "turn_id": turn_id}).one_or_none()
    if row is None:
        raise TurnNotFound
    return turn_of(row)


def _settled(connection: Connection, owner: str, turn_id: str, lease_seconds: float) -> TurnRecord:
    turn = _turn(connection, owner, turn_id, _TURN_WITH_TRACE)
    if turn.outcome is not None:
        return turn
    claims.settle(connection, turn_id, lease_seconds=lease_seconds)
    return _turn(connection, owner, turn_id, _TURN_WITH_TRACE)


def _purge_logs(connection: Connection, before: datetime) -> int:
    return connection.execute(_PURGE_LOGS, {"before": before}).rowcount


def _purge_sessions(connection: Connection, before: datetime) -> int:
    return connection.execute(_PURGE_SESSIONS, {"before": before}).rowcount


def _turn_log(connection: Connection, owner: str, turn_id: str) -> bytes | None:
    row = connection.execute(_TURN_LOG, {"owner": owner, "turn_id": turn_id}).one_or_none()
    if row is None:
        raise TurnNotFound
    log: bytes | None = row.log
    return log
