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
)

from backend.storage.ports.store_time import ClockDoubt, ClockMark, StoreTime
from backend.storage.sql import leases, logs, partitions
from backend.storage.sql.dialects import DatabaseNow, DatabaseTime
from backend.storage.sql.tables import (
    clock_doubts,
    clock_marks,
    sessions,
    turn_logs,
    turns,
    workers,
)

SESSIONS_AT_ONCE = 100
"""Fewer than logs, because each session takes its turns and messages along, often thousands."""

DAY = timedelta(days=1)

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
# No index supports this, because every turn would have to update it. The scan takes 0.4 s for a
# million sessions.
_OLD_SESSIONS = select(sessions.c.owner, sessions.c.id).where(
    func.coalesce(sessions.c.last_turn_at, sessions.c.created_at) < bindparam("before"),
    ~leases.IS_HELD,
)
_SOME_OLD_SESSIONS = _OLD_SESSIONS.limit(SESSIONS_AT_ONCE)
# Locks one by one: a sharded database can only lock rows of one owner at a time. Skips the sessions
# that another worker works on.
_STILL_OLD = _OLD_SESSIONS.where(
    sessions.c.owner == bindparam("owner"), sessions.c.id == bindparam("session_id")
).with_for_update(skip_locked=True)
# The foreign keys cascade, so turns and messages go with their session.
_DELETE_SESSION = delete(sessions).where(
    sessions.c.owner == bindparam("owner"), sessions.c.id == bindparam("session_id")
)


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
    """Drop whole days of old logs, where the database keeps each day apart, and delete the others.

    Returns how many were deleted; `logs.AT_ONCE` if more wait. In Postgres, a log that is kept for
    a day or longer may stay for another day, until its whole day is dropped.
    """
    before = _before(connection, kept_seconds)
    if before is None:
        return 0
    partitions.drop_before(connection, turn_logs, before.date())
    cleared = logs.clear_before(connection, before)
    is_dropped = connection.dialect.name == "postgresql" and kept_seconds >= DAY.total_seconds()
    deleted = logs.delete_before(connection, before - DAY if is_dropped else before)
    return max(cleared, deleted)


def purge_sessions(
    connection: Connection, kept_seconds: float, lost_after_seconds: Callable[[], float]
) -> int:
    """Delete old sessions. Returns how many; `SESSIONS_AT_ONCE` if more may wait."""
    before = _before(connection, kept_seconds)
    if before is None:
        return 0
    old = {"before": before, "lease_seconds": lost_after_seconds()}
    found = connection.execute(_SOME_OLD_SESSIONS, old).all()
    purged = 0
    for owner, session_id in found:
        this = {"owner": owner, "session_id": session_id}
        if connection.execute(_STILL_OLD, {**old, **this}).one_or_none() is not None:
            logs.delete_of_session(connection, owner, session_id)
            connection.execute(_DELETE_SESSION, this)
            purged += 1
    return purged


def _now(connection: Connection) -> datetime:
    at: datetime = connection.execute(_NOW).scalar_one()
    return at


def _before(connection: Connection, kept_seconds: float) -> datetime | None:
    """The time before which things are old; None if that is before the year 1."""
    try:
        return _now(connection) - timedelta(seconds=kept_seconds)
    except OverflowError:
        return None
