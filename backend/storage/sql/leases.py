"""Leases: which workers live, by the database's clock, and so which claims hold."""

from sqlalchemy import Connection, Float, bindparam, delete, literal, or_, select

from backend.storage.sql.dialects import DatabaseTime, insert
from backend.storage.sql.tables import turns, workers

FORGOTTEN_SECONDS = 86400.0

LEASE_AGO = DatabaseTime() - bindparam("lease_seconds", type_=Float)
LIVING_HOLDER = (
    select(literal(1))
    .join_from(turns, workers, workers.c.id == turns.c.worker)
    .where(workers.c.seen_at > LEASE_AGO)
)
_HOLDER_LIVES = LIVING_HOLDER.where(turns.c.id == bindparam("turn_id"))
_RENEWED_LATELY = select(literal(1)).where(
    workers.c.id == bindparam("worker"),
    workers.c.seen_at > DatabaseTime() - bindparam("seconds", type_=Float),
)
_RENEW = (
    insert(workers)
    .values(id=bindparam("worker"), seen_at=DatabaseTime())
    .on_conflict_do_update(index_elements=[workers.c.id], set_={"seen_at": DatabaseTime()})
)
_RETIRE = delete(workers).where(
    or_(
        workers.c.id == bindparam("worker"),
        workers.c.seen_at < DatabaseTime() - FORGOTTEN_SECONDS,
    )
)


def is_held(connection: Connection, turn_id: str, lease_seconds: float) -> bool:
    holder = {"turn_id": turn_id, "lease_seconds": lease_seconds}
    return connection.scalar(_HOLDER_LIVES, holder) is not None


def vouch_for(connection: Connection, worker: str, lease_seconds: float) -> None:
    """A claim needs a lease. Written only when it is half over: all claims of a worker
    would queue for its row otherwise.
    """
    lately = {"worker": worker, "seconds": lease_seconds / 2}
    if not connection.scalar(_RENEWED_LATELY, lately):
        renew(connection, worker)


def renew(connection: Connection, worker: str) -> None:
    connection.execute(_RENEW, {"worker": worker})


def retire(connection: Connection, worker: str) -> None:
    """Also forgets the workers that were killed long ago: no row is as dead as an old one."""
    connection.execute(_RETIRE, {"worker": worker})
