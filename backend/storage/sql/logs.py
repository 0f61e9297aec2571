"""The stored logs of turns.

They have a table of their own, which Postgres partitions by day. Until the upgrade of the schema is
finished, and for older turns, a log is in the row of its turn.
"""

from datetime import datetime

from sqlalchemy import Connection, and_, bindparam, delete, func, select, update

from backend.domain.turn_keys import TurnKey
from backend.storage.sql.tables import turn_logs, turns
from backend.storage.sql.writes import Write

AT_ONCE = 1000
"""Logs that one transaction deletes at most, so that other transactions run in between."""

WITH_TURNS = turns.outerjoin(
    turn_logs,
    and_(
        turn_logs.c.owner == turns.c.owner,
        turn_logs.c.turn_id == turns.c.id,
        turn_logs.c.finished_at == turns.c.finished_at,  # only this partition is read
    ),
)
LOG = func.coalesce(turn_logs.c.log, turns.c.log, type_=turn_logs.c.log.type).label("log")

_STORE = Write(turn_logs.insert())
_OLD = (
    select(turn_logs.c.owner, turn_logs.c.turn_id, turn_logs.c.finished_at)
    .where(turn_logs.c.finished_at < bindparam("before"))
    .limit(AT_ONCE)
)
_OLD_IN_TURNS = (
    select(turns.c.owner, turns.c.id)
    .where(turns.c.log.is_not(None), turns.c.finished_at < bindparam("before"))
    .limit(AT_ONCE)
)
_THIS = (
    turn_logs.c.owner == bindparam("this_owner"),
    turn_logs.c.turn_id == bindparam("this_turn"),
    turn_logs.c.finished_at == bindparam("this_time"),
)
_DELETE = delete(turn_logs).where(*_THIS)
_REPLACE = update(turn_logs).where(*_THIS).values(log=bindparam("new_log"))
_OF_THIS_TURN = update(turns).where(
    turns.c.owner == bindparam("this_owner"), turns.c.id == bindparam("this_turn")
)
_REPLACE_IN_TURN = _OF_THIS_TURN.where(turns.c.log.is_not(None)).values(log=bindparam("new_log"))
_CLEAR = _OF_THIS_TURN.values(log=None)
_OF_SESSION = select(turns.c.owner, turns.c.id, turns.c.finished_at).where(
    turns.c.owner == bindparam("owner"),
    turns.c.session_id == bindparam("session_id"),
    turns.c.finished_at.is_not(None),
)


def store(connection: Connection, turn: TurnKey, finished_at: datetime, log: bytes) -> None:
    row = {"owner": turn.owner, "turn_id": turn.id, "finished_at": finished_at, "log": log}
    _STORE.run(connection, row)


def replace(connection: Connection, turn: TurnKey, finished_at: datetime, log: bytes) -> None:
    """Replace a stored log, wherever it is. A log that retention has deleted stays deleted."""
    this = {**_this(*turn, finished_at), "new_log": log}
    if not connection.execute(_REPLACE, this).rowcount:
        connection.execute(_REPLACE_IN_TURN, this)


def delete_of_session(connection: Connection, owner: str, session_id: str) -> None:
    """Delete the logs of a session's turns. The caller holds the lock on the session's row."""
    of_session = {"owner": owner, "session_id": session_id}
    rows = connection.execute(_OF_SESSION, of_session).all()
    if rows:
        connection.execute(_DELETE, [_this(*row) for row in rows])


def delete_before(connection: Connection, before: datetime) -> int:
    """Delete logs of turns that ended before that time. Returns how many, `AT_ONCE` at most."""
    rows = connection.execute(_OLD, {"before": before}).all()
    if rows:
        connection.execute(_DELETE, [_this(*row) for row in rows])
    return len(rows)


def clear_before(connection: Connection, before: datetime) -> int:
    """Like `delete_before`, for the logs that are in the rows of their turns."""
    rows = connection.execute(_OLD_IN_TURNS, {"before": before}).all()
    if rows:
        connection.execute(_CLEAR, [{"this_owner": row.owner, "this_turn": row.id} for row in rows])
    return len(rows)


def _this(owner: str, turn_id: str, finished_at: datetime) -> dict[str, str | datetime]:
    return {"this_owner": owner, "this_turn": turn_id, "this_time": finished_at}
