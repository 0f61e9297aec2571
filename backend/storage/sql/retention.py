"""Deletes old logs and sessions, by the database's clock.

Each transaction deletes a bounded number, so that other transactions run in between.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from sqlalchemy import (
    Connection,
    Float,
    bindparam,
    delete,
    func,
    literal_column,
    select,
    tuple_,
    update,
)

from backend.storage.ports.sessions import ClockDoubt, ClockMark, StoreTime
from backend.storage.sql import leases
from backend.storage.sql.dialects import DatabaseNow, DatabaseTime
from backend.storage.sql.tables import clock_doubts, clock_marks, sessions, turns, workers

LOGS_AT_ONCE = 1000
SESSIONS_AT_ONCE = 100
"""Fewer than logs, because each session takes its turns and messages along, often thousands."""

_NOW = select(DatabaseNow())
_NEWEST_LEASE = select(func.max(workers.c.seen_at)).where(workers.c.id != bindparam("worker"))
_NEWEST_TURN = (
    select(func.coalesce(turns.c.finished_at, turns.c.started_at))
    .order_by(literal_column("turns.rowid").desc())  # SQLite's row number: needs no sorting
    .limit(1)
)
# A doubt that begins in the future comes from before the clock was set back, so ignore it.
_DOUBT = select(clock_doubts.c.jump_seconds, clock_doubts.c.ends_at - DatabaseTime()).where(
    clock_doubts.c.began_at <= DatabaseTime(), clock_doubts.c.ends_at > DatabaseTime()
)
_DOUBT_NOW = clock_doubts.insert().values(
    began_at=DatabaseTime(),
    ends_at=DatabaseTime() + bindparam("lasts_seconds", type_=Float),
    jump_seconds=bindparam("jump_seconds"),
)
_MARK = select(clock_marks.c.at, clock_marks.c.uptime_seconds)
_MARK_NOW = clock_marks.insert().values(
    at=DatabaseTime(), uptime_seconds=bindparam("uptime_seconds")
)
_OLD_LOGS = (
    select(turns.c.id)
    .where(turns.c.log.is_not(None), turns.c.finished_at < bindparam("before"))
    .limit(LOGS_AT_ONCE)
)
_PURGE_LOGS = update(turns).where(turns.c.id.in_(_OLD_LOGS)).values(log=None)
_IS_HELD = (
    leases.LIVING_HOLDER.where(turns.c.id == sessions.c.current_turn_id)
    .correlate(sessions)
    .exists()
)
# No index supports this, because every turn would have to update it. The scan takes 0.4 s for a
# million sessions.
_OLD_SESSIONS = (
    select(sessions.c.owner, sessions.c.id)
    .where(
        func.coalesce(sessions.c.last_turn_at, sessions.c.created_at) < bindparam("before"),
        ~_IS_HELD,
    )
    .limit(SESSIONS_AT_ONCE)
    .with_for_update(skip_locked=True)  # skip the sessions that another worker works on
)
# The foreign keys cascade, so turns and messages go with their session.
_PURGE_SESSIONS = delete(sessions).where(tuple_(sessions.c.owner, sessions.c.id).in_(_OLD_SESSIONS))


def purge_clock(connection: Connection, worker: str) -> StoreTime:
    """Return the store's time. Metrics use this name as a label value, so it must not change.

    On SQLite the store's clock is the worker's own, so the result also tells how to check it.
    """
    at = _now(connection)
    if connection.dialect.name != "sqlite":
        return StoreTime(at)
    seen_at = connection.scalar(_NEWEST_LEASE, {"worker": worker})
    stored = [connection.scalar(_NEWEST_TURN), seen_at and datetime.fromtimestamp(seen_at, UTC)]
    newest = max(filter(None, stored), default=None)
    doubt = connection.execute(_DOUBT).one_or_none()
    mark = connection.execute(_MARK).one_or_none()
    return StoreTime(
        at,
        newest=newest,
        is_own_clock=True,
        doubt=doubt and ClockDoubt(*doubt),
        mark=mark and ClockMark(datetime.fromtimestamp(mark.at, UTC), mark.uptime_seconds),
    )


def doubt_clock(connection: Connection, doubt: ClockDoubt) -> None:
    connection.execute(clock_doubts.delete())  # the newest counts
    connection.execute(
        _DOUBT_NOW, {"jump_seconds": doubt.jump_seconds, "lasts_seconds": doubt.lasts_seconds}
    )


def purge_mark(connection: Connection, uptime_seconds: float) -> None:
    """Replace the mark of the clock by one of now. Metrics use this name, like `purge_clock`."""
    connection.execute(clock_marks.delete())
    connection.execute(_MARK_NOW, {"uptime_seconds": uptime_seconds})


def purge_logs(connection: Connection, kept_seconds: float) -> int:
    before = _before(connection, kept_seconds)
    return connection.execute(_PURGE_LOGS, {"before": before}).rowcount if before else 0


def purge_sessions(
    connection: Connection, kept_seconds: float, lost_after_seconds: Callable[[], float]
) -> int:
    before = _before(connection, kept_seconds)
    old = {"before": before, "lease_seconds": lost_after_seconds()}
    return connection.execute(_PURGE_SESSIONS, old).rowcount if before else 0


def _now(connection: Connection) -> datetime:
    at: datetime = connection.execute(_NOW).scalar_one()
    return at


def _before(connection: Connection, kept_seconds: float) -> datetime | None:
    """The time before which things are old; None if that is before the year 1."""
    try:
        return _now(connection) - timedelta(seconds=kept_seconds)
    except OverflowError:
        return None
