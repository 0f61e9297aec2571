"""The session store in SQL: the transaction behind each operation."""

from collections.abc import Collection, Sequence

import structlog
from sqlalchemy import Connection, bindparam, delete

from backend.domain.conversation import Session
from backend.domain.errors import NotStorable, SessionNotFound, StorageError
from backend.storage.ports.sessions import LOST_AFTER_LEASES, Claim, Holder, NewTurn, StopRequest
from backend.storage.sql import claims, leases, retention, worker_requests
from backend.storage.sql.database import Database
from backend.storage.sql.dialects import DatabaseNow, insert
from backend.storage.sql.failure_detector import FailureDetector
from backend.storage.sql.look_ups import LookUps, get
from backend.storage.sql.operations import reading, writing
from backend.storage.sql.tables import sessions
from backend.telemetry import lost_turns

logger = structlog.get_logger()

_CREATE = (
    insert(sessions)
    .values(created_at=DatabaseNow())
    .on_conflict_do_nothing(index_elements=[sessions.c.owner, sessions.c.id])
)
_DELETE = delete(sessions).where(
    sessions.c.owner == bindparam("owner"), sessions.c.id == bindparam("session_id")
)


def _create(connection: Connection, owner: str, session_id: str) -> Session:
    connection.execute(_CREATE, claims.new_session(owner, session_id))
    return get(connection, owner, session_id)


def _delete(connection: Connection, owner: str, session_id: str) -> None:
    deleted = connection.execute(_DELETE, {"owner": owner, "session_id": session_id})
    if not deleted.rowcount:
        raise SessionNotFound


class SqlSessions(LookUps):
    def __init__(
        self, database: Database, *, lease_seconds: float, detector: FailureDetector | None = None
    ) -> None:
        super().__init__(database, detector or FailureDetector(lease_seconds))
        self._lease_seconds = lease_seconds

    create = writing(_create)
    _delete = writing(_delete)

    finish = writing(claims.finish)
    request_stop = writing(worker_requests.request_stop)
    renew_lease = writing(leases.renew)
    retire = writing(leases.retire)

    time = reading(retention.purge_clock)
    doubt_clock = writing(retention.doubt_clock)
    mark_clock = writing(retention.purge_mark)

    async def claim(
        self, turn: NewTurn, *, history_tokens: int, beside_characters: int = 0
    ) -> Claim:
        claim = await self.database.run(
            claims.claim,
            turn,
            history_tokens=history_tokens,
            beside_characters=beside_characters,
            lease_seconds=self._lease_seconds,
            lost_after_seconds=self.detector.lost_after_seconds,
        )
        if (lost := claim.lost) is not None:
            lost_turns.report(lost.id, session_id=lost.session_id, traceparent=lost.traceparent)
        return claim

    async def delete(self, owner: str, session_id: str) -> None:
        await self.get(owner, session_id)  # closes and counts a lost turn before it disappears
        await self._delete(owner, session_id)

    async def live_workers(self) -> int:
        return await self.database.read(leases.living, self._lease_seconds)

    async def renew(
        self, worker: str, *, unfollowed: Collection[str] = (), followed: Collection[str] = ()
    ) -> Sequence[StopRequest]:
        try:
            requests = await self.database.run(worker_requests.renew, worker, unfollowed, followed)
        except StorageError:
            self.detector.suspend()
            raise
        self.detector.renewed()
        return requests

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

    async def running(self, turn_ids: Collection[str]) -> frozenset[str]:
        lost_after_seconds = self.detector.lost_after_seconds
        return await self.database.read(worker_requests.running, turn_ids, lost_after_seconds)

    async def is_followed(self, turn_id: str) -> bool:
        lost_after_seconds = self.detector.lost_after_seconds
        return await self.database.read(worker_requests.is_followed, turn_id, lost_after_seconds)

    async def close_lost(self) -> int:
        lost = await self.database.read(leases.lost, self._lost_unasked_after_seconds)
        closed = [await self._close_lost(turn_id) for turn_id in lost]
        return sum(closed)

    async def _close_lost(self, turn_id: str) -> bool:
        try:
            return await self.settle(turn_id, lost_after_seconds=self._lost_unasked_after_seconds)
        except NotStorable as error:  # concerns only this turn, so close the others all the same
            logger.warning("lost_turn_not_closed", turn=turn_id, error=str(error))
            return False

    def _lost_unasked_after_seconds(self) -> float:
        return LOST_AFTER_LEASES * self.detector.lost_after_seconds()

    async def purge_logs(self, *, kept_seconds: float) -> None:
        purged = retention.LOGS_AT_ONCE
        while purged == retention.LOGS_AT_ONCE:  # other transactions run in between
            purged = await self.database.run(retention.purge_logs, kept_seconds)

    async def purge_sessions(self, *, kept_seconds: float) -> None:
        purged = retention.SESSIONS_AT_ONCE
        while purged == retention.SESSIONS_AT_ONCE:
            purged = await self.database.run(
                retention.purge_sessions, kept_seconds, self.detector.lost_after_seconds
            )
