"""The session store in SQL: the transaction behind each operation."""

from collections.abc import Collection, Sequence

import structlog
from sqlalchemy import Connection, bindparam, delete, select, update

from backend.domain.conversation import Session
from backend.domain.errors import NotStorable, SessionNotFound, StorageError
from backend.domain.turn_keys import TurnKey
from backend.storage.ports.sessions import (
    LOST_AFTER_LEASES,
    Claim,
    Ending,
    Holder,
    NewTurn,
    StopRequest,
)
from backend.storage.sql import claims, endings, leases, logs, retention, worker_requests
from backend.storage.sql.database import Database
from backend.storage.sql.dialects import DatabaseNow, insert
from backend.storage.sql.failure_detector import FailureDetector
from backend.storage.sql.locks import THIS_SESSION
from backend.storage.sql.look_ups import LookUps, get
from backend.storage.sql.operations import reading, writing
from backend.storage.sql.own_lease import OwnLease
from backend.storage.sql.tables import sessions
from backend.telemetry import lost_turns

logger = structlog.get_logger()

_CREATE = (
    insert(sessions)
    .values(created_at=DatabaseNow())
    .on_conflict_do_nothing(index_elements=[sessions.c.owner, sessions.c.id])
)
_THIS = (sessions.c.owner == bindparam("owner"), sessions.c.id == bindparam("session_id"))
_LOCK = select(sessions.c.id).where(*_THIS).with_for_update()
_DELETE = delete(sessions).where(*_THIS)
_RENAME = update(sessions).where(*THIS_SESSION).values(title=bindparam("new_title"))


def _create(connection: Connection, owner: str, session_id: str) -> Session:
    connection.execute(_CREATE, claims.new_session(owner, session_id))
    return get(connection, owner, session_id)


def _rename(connection: Connection, owner: str, session_id: str, *, title: str | None) -> None:
    new = {"this_owner": owner, "this_session": session_id, "new_title": title}
    if connection.execute(_RENAME, new).rowcount == 0:
        raise SessionNotFound


def _delete(connection: Connection, owner: str, session_id: str) -> None:
    this = {"owner": owner, "session_id": session_id}
    if connection.execute(_LOCK, this).one_or_none() is None:
        raise SessionNotFound
    logs.delete_of_session(connection, owner, session_id)
    connection.execute(_DELETE, this)


class SqlSessions(LookUps):
    """With `has_own_logs`, logs are stored in their table. They are read from everywhere."""

    def __init__(
        self,
        database: Database,
        *,
        lease_seconds: float,
        detector: FailureDetector | None = None,
        has_own_logs: bool = True,
    ) -> None:
        super().__init__(database, detector or FailureDetector(lease_seconds))
        self._lease_seconds = lease_seconds
        self._own_lease = OwnLease(lease_seconds, failures=lambda: database.failures)
        self._has_own_logs = has_own_logs

    create = writing(_create)
    rename = writing(_rename)
    _delete = writing(_delete)

    request_stop = writing(worker_requests.request_stop)
    _renew_lease = writing(leases.renew)
    _retire = writing(leases.retire)

    time = reading(retention.purge_clock)
    doubt_clock = writing(retention.doubt_clock)
    mark_clock = writing(retention.purge_mark)

    async def claim(
        self, turn: NewTurn, *, history_tokens: int, beside_characters: int = 0
    ) -> Claim:
        claim = await self.database.run_small(
            claims.claim,
            turn,
            history_tokens=history_tokens,
            beside_characters=beside_characters,
            lease=self._own_lease,
            lost_after_seconds=self.detector.lost_after_seconds,
        )
        if (lost := claim.lost) is not None:
            lost_turns.report(lost.id, session_id=lost.session_id, traceparent=lost.traceparent)
        return claim

    async def finish(self, ending: Ending) -> bool:
        return await self.database.run_small(
            endings.finish, ending, has_own_logs=self._has_own_logs
        )

    async def delete(self, owner: str, session_id: str) -> None:
        await self.get(owner, session_id)  # closes and counts a lost turn before it disappears
        await self._delete(owner, session_id)

    async def live_workers(self) -> int:
        return await self.database.read(leases.living, self._lease_seconds)

    async def renew(
        self, worker: str, *, unfollowed: Collection[str] = (), followed: Collection[TurnKey] = ()
    ) -> Sequence[StopRequest]:
        before = self.database.failures
        try:
            renewed_at, requests = await self.database.run(
                worker_requests.renew, worker, unfollowed, followed
            )
        except StorageError:
            self.detector.suspend()
            raise
        self.detector.renewed()
        self._own_lease.renewed(worker, renewed_at, failures_before=before)
        return requests

    async def renew_lease(self, worker: str) -> None:
        before = self.database.failures
        renewed_at = await self._renew_lease(worker)
        self._own_lease.renewed(worker, renewed_at, failures_before=before)

    async def retire(self, worker: str) -> None:
        self._own_lease.retired(worker)
        await self._retire(worker)

    async def request_end(
        self, owner: str, session_id: str, *, unless_read: bool = False
    ) -> Holder | None:
        return await self.database.run(
            worker_requests.request_end,
            owner,
            session_id,
            unless_read=unless_read,
            lost_after_seconds=self.detector.lost_after_seconds,
        )

    async def running(self, turns: Collection[TurnKey]) -> frozenset[str]:
        lost_after_seconds = self.detector.lost_after_seconds
        return await self.database.read(worker_requests.running, turns, lost_after_seconds)

    async def is_followed(self, turn: TurnKey) -> bool:
        lost_after_seconds = self.detector.lost_after_seconds
        return await self.database.read(worker_requests.is_followed, turn, lost_after_seconds)

    async def close_lost(self) -> int:
        lost = await self.database.read(leases.lost, self._lost_unasked_after_seconds)
        closed = [await self._close_lost(turn) for turn in lost]
        return sum(closed)

    async def _close_lost(self, turn: TurnKey) -> bool:
        try:
            return await self.settle(turn, lost_after_seconds=self._lost_unasked_after_seconds)
        except NotStorable as error:  # concerns only this turn, so close the others all the same
            logger.warning("lost_turn_not_closed", turn=turn.id, error=str(error))
            return False

    def _lost_unasked_after_seconds(self) -> float:
        return LOST_AFTER_LEASES * self.detector.lost_after_seconds()

    async def purge_logs(self, *, kept_seconds: float) -> None:
        purged = logs.AT_ONCE
        while purged == logs.AT_ONCE:  # other transactions run in between
            purged = await self.database.run(retention.purge_logs, kept_seconds)

    async def purge_sessions(self, *, kept_seconds: float) -> None:
        purged = retention.SESSIONS_AT_ONCE
        while purged == retention.SESSIONS_AT_ONCE:
            purged = await self.database.run(
                retention.purge_sessions, kept_seconds, self.detector.lost_after_seconds
            )
