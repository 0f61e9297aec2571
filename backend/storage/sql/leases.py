"""Leases: which workers are alive by the database's clock, and so which claims hold."""

from collections.abc import Callable

from sqlalchemy import Connection, Float, and_, bindparam, delete, literal, or_, select
from sqlalchemy.sql.functions import count

from backend.domain.turn_keys import TurnKey
from backend.storage.sql.dialects import DatabaseTime, insert
from backend.storage.sql.tables import sessions, turns, workers

FORGOTTEN_SECONDS = 86400.0
"""Age at which the row of a worker that never retired is deleted."""

CLOSED_AT_ONCE = 1000
"""Limit of lost turns per query."""

LEASE_AGO = DatabaseTime() - bindparam("lease_seconds", type_=Float)
LIVING_HOLDER = (
    select(literal(1))
    .join_from(turns, workers, workers.c.id == turns.c.worker)
    .where(workers.c.seen_at > LEASE_AGO)
)
IS_HELD = (
    LIVING_HOLDER.where(turns.c.owner == sessions.c.owner, turns.c.id == sessions.c.current_turn_id)
    .correlate(sessions)
    .exists()
)
"""Whether a living worker holds the session."""

_LOST = (
    select(turns.c.owner, turns.c.id)
    .join_from(
        turns,
        sessions,
        and_(  # by primary key, because `current_turn_id` has no index
            sessions.c.owner == turns.c.owner,
            sessions.c.id == turns.c.session_id,
            sessions.c.current_turn_id == turns.c.id,
        ),
    )
    .where(
        turns.c.outcome.is_(None),
        # Not `seen_at <= LEASE_AGO`: a retired worker has no row at all.
        ~select(literal(1))
        .where(workers.c.id == turns.c.worker, workers.c.seen_at > LEASE_AGO)
        .correlate(turns)
        .exists(),
    )
)
LOST_OF_SESSION = _LOST.where(
    sessions.c.owner == bindparam("owner"), sessions.c.id == bindparam("of")
)
LOST_OF_SESSIONS = _LOST.where(
    sessions.c.owner == bindparam("owner"), sessions.c.id.in_(bindparam("of", expanding=True))
)
LOST_TURN = _LOST.where(turns.c.owner == bindparam("owner"), turns.c.id == bindparam("of"))
_ALL_LOST = _LOST.limit(CLOSED_AT_ONCE)
_HOLDER_LIVES = LIVING_HOLDER.where(
    turns.c.owner == bindparam("owner"), turns.c.id == bindparam("turn_id")
)
_RENEWED_LATELY = select(literal(1)).where(
    workers.c.id == bindparam("worker"),
    workers.c.seen_at > DatabaseTime() - bindparam("seconds", type_=Float),
)
_LIVING = select(count()).select_from(workers).where(workers.c.seen_at > LEASE_AGO)
_NEW_LEASE = insert(workers).values(id=bindparam("worker"), seen_at=DatabaseTime())
_RENEW = _NEW_LEASE.on_conflict_do_update(
    index_elements=[workers.c.id], set_={"seen_at": _NEW_LEASE.excluded.seen_at}
).returning(workers.c.seen_at)
_RETIRE = delete(workers).where(
    or_(
        workers.c.id == bindparam("worker"),
        workers.c.seen_at < DatabaseTime() - FORGOTTEN_SECONDS,
    )
)


def is_held(connection: Connection, turn: TurnKey, lease_seconds: float) -> bool:
    holder = {"owner": turn.owner, "turn_id": turn.id, "lease_seconds": lease_seconds}
    return connection.scalar(_HOLDER_LIVES, holder) is not None


def lost(connection: Connection, lost_after_seconds: Callable[[], float]) -> list[TurnKey]:
    """Return up to `CLOSED_AT_ONCE` turns that hold a session and whose workers are dead."""
    rows = connection.execute(_ALL_LOST, {"lease_seconds": lost_after_seconds()})
    return [TurnKey(*row) for row in rows]


def ensure(connection: Connection, worker: str, lease_seconds: float) -> None:
    """Make sure that the worker has a lease. Renews it only after half of its time.

    If each claim renewed it, all claims of a worker would queue for the lock on its row.
    """
    lately = {"worker": worker, "seconds": lease_seconds / 2}
    if not connection.scalar(_RENEWED_LATELY, lately):
        renew(connection, worker)


def living(connection: Connection, lease_seconds: float) -> int:
    return connection.scalar(_LIVING, {"lease_seconds": lease_seconds}) or 0


def renew(connection: Connection, worker: str) -> float:
    """Returns the time of the renewal, by the database's clock."""
    seen_at: float = connection.execute(_RENEW, {"worker": worker}).scalar_one()
    return seen_at


def retire(connection: Connection, worker: str) -> None:
    """Delete the worker's lease, and the old leases of workers that were killed."""
    connection.execute(_RETIRE, {"worker": worker})
