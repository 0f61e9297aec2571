"""Requests between workers about their turns, through the database."""

from collections.abc import Callable, Collection

from sqlalchemy import (
    BindParameter,
    Connection,
    bindparam,
    func,
    or_,
    select,
    true,
    update,
)

from backend.domain.conversation import Outcome
from backend.domain.errors import TurnNotFound
from backend.domain.turn_keys import TurnKey
from backend.storage.ports.sessions import Holder, StopRequest
from backend.storage.sql import leases
from backend.storage.sql.dialects import DatabaseTime
from backend.storage.sql.tables import sessions, turns

_IDS: BindParameter[str] = bindparam("ids", expanding=True)
_OWNERS: BindParameter[str] = bindparam("owners", expanding=True)
# Not pairs, because no database finds the shards of pairs. Ids are unique even without owners.
_THESE = (turns.c.owner.in_(_OWNERS), turns.c.id.in_(_IDS))

_HOLDER = (turns.c.id, turns.c.worker, turns.c.traceparent)
_MINE = (turns.c.worker == bindparam("this_worker"), turns.c.outcome.is_(None))
_DESERTED = (
    update(turns)
    .where(*_MINE, turns.c.id.in_(_IDS), turns.c.is_deserted.is_not(true()))
    .values(is_deserted=True)
)
# A follower who comes back withdraws the request to give way (disconnected), but not a
# cancellation.
_READ_AGAIN = (
    update(turns)
    .where(*_MINE, turns.c.id.not_in(_IDS), turns.c.is_deserted.is_(true()))
    .values(is_deserted=False, stop_as=func.nullif(turns.c.stop_as, Outcome.DISCONNECTED.value))
)
_FOLLOWED = update(turns).where(*_THESE).values(followed_at=DatabaseTime())
_TO_STOP = select(turns.c.id, turns.c.stop_as).where(*_MINE, turns.c.stop_as.is_not(None))

_STOP = (
    update(turns)
    .where(turns.c.owner == bindparam("this_owner"), turns.c.id == bindparam("turn_id"))
    .values(stop_as=Outcome.CANCELLED.value)
    .returning(*_HOLDER)
)
_CURRENT = (
    select(sessions.c.current_turn_id)
    .where(sessions.c.owner == bindparam("this_owner"), sessions.c.id == bindparam("this_session"))
    .scalar_subquery()
)
_OF_SESSION = (turns.c.owner == bindparam("this_owner"), turns.c.id == _CURRENT)
_END = update(turns).where(*_OF_SESSION).values(stop_as=Outcome.CANCELLED.value).returning(*_HOLDER)
# Followers on the turn's own worker are a flag, which that worker keeps up to date. Followers on
# other workers are a time, which each renewal refreshes: a dead worker's followers expire.
_END_UNREAD = (
    update(turns)
    .where(
        *_OF_SESSION,
        turns.c.is_deserted.is_(true()),
        or_(turns.c.followed_at.is_(None), turns.c.followed_at < leases.LEASE_AGO),
    )
    .values(stop_as=func.coalesce(turns.c.stop_as, Outcome.DISCONNECTED.value))
    .returning(*_HOLDER)
)
_RUNNING = leases.LIVING_HOLDER.with_only_columns(turns.c.id).where(
    *_THESE, turns.c.outcome.is_(None)
)
_IS_FOLLOWED = select(turns.c.id).where(
    turns.c.owner == bindparam("owner"),
    turns.c.id == bindparam("turn_id"),
    turns.c.followed_at > leases.LEASE_AGO,
)


def renew(
    connection: Connection, worker: str, unfollowed: Collection[str], followed: Collection[TurnKey]
) -> tuple[float, list[StopRequest]]:
    """Returns the time of the renewal, by the database's clock, and the stop requests."""
    renewed_at = leases.renew(connection, worker)
    mine = {"this_worker": worker, "ids": list(unfollowed)}
    if unfollowed:
        connection.execute(_DESERTED, mine)
    connection.execute(_READ_AGAIN, mine)
    if followed:
        connection.execute(_FOLLOWED, _these(followed))
    rows = connection.execute(_TO_STOP, {"this_worker": worker})
    return renewed_at, [StopRequest(row.id, Outcome(row.stop_as)) for row in rows]


def request_stop(connection: Connection, owner: str, turn_id: str) -> Holder:
    turn = connection.execute(_STOP, {"this_owner": owner, "turn_id": turn_id}).one_or_none()
    if turn is None:
        raise TurnNotFound
    return Holder(*turn)


def request_end(
    connection: Connection,
    owner: str,
    session_id: str,
    *,
    unless_read: bool,
    lost_after_seconds: Callable[[], float],
) -> Holder | None:
    values: dict[str, object] = {"this_owner": owner, "this_session": session_id}
    if unless_read:
        turn = connection.execute(_END_UNREAD, {**values, "lease_seconds": lost_after_seconds()})
    else:
        turn = connection.execute(_END, values)
    row = turn.one_or_none()
    return None if row is None else Holder(*row)


def running(
    connection: Connection, these: Collection[TurnKey], lost_after_seconds: Callable[[], float]
) -> frozenset[str]:
    values = {**_these(these), "lease_seconds": lost_after_seconds()}
    return frozenset(connection.scalars(_RUNNING, values))


def is_followed(
    connection: Connection, turn: TurnKey, lost_after_seconds: Callable[[], float]
) -> bool:
    values = {"owner": turn.owner, "turn_id": turn.id, "lease_seconds": lost_after_seconds()}
    return connection.scalar(_IS_FOLLOWED, values) is not None


def _these(keys: Collection[TurnKey]) -> dict[str, list[str]]:
    return {"owners": sorted({key.owner for key in keys}), "ids": [key.id for key in keys]}
