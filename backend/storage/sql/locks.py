"""Locks on the row of a session, and what each change of the row does to its summary.

A lock also returns the time to store. It is the database's time, because the clocks of two workers
cannot be compared.
"""

from sqlalchemy import Connection, and_, bindparam, case, select

from backend.domain.turn_keys import TurnKey
from backend.storage.ports.side_effects import ClaimLost
from backend.storage.sql.dialects import DatabaseNow, DatabaseTime
from backend.storage.sql.rows import AnyRow
from backend.storage.sql.tables import sessions, turns

AT = DatabaseNow().label("at")
# Finds no row if the turn no longer holds its session. Locks the session's row alone.
_LOCK_OF_TURN = (
    select(
        sessions.c.owner,
        sessions.c.id,
        sessions.c.messages,
        sessions.c.spent,
        turns.c.started_at,
        AT,
    )
    .join(turns, and_(turns.c.owner == sessions.c.owner, turns.c.session_id == sessions.c.id))
    .where(
        sessions.c.owner == bindparam("owner"),
        turns.c.id == bindparam("turn_id"),
        sessions.c.current_turn_id == turns.c.id,
    )
    .with_for_update(of=sessions)
)
THIS_SESSION = (
    sessions.c.owner == bindparam("this_owner"),
    sessions.c.id == bindparam("this_session"),
)
# A turn voids the claim of a worker that was about to summarize the idle session. If the summary is
# wanted because of a cut, it stays useful, and goes on while the turn runs.
_IS_WANTED = sessions.c.summary_wanted.is_(True)
UNTOLD = {
    "untold_since": DatabaseTime(),
    "summary_claim": case((_IS_WANTED, sessions.c.summary_claim), else_=None),
    "summary_not_before": case((_IS_WANTED, sessions.c.summary_not_before), else_=None),
    "summary_failures": case((_IS_WANTED, sessions.c.summary_failures), else_=0),
}


def hold(connection: Connection, turn: TurnKey) -> AnyRow:
    """Lock the session of a turn until this transaction ends.

    So no other turn can take over the session while a side effect is stored.

    Raises:
        ClaimLost: the turn does not hold its session.
    """
    session = of_turn(connection, turn)
    if session is None:
        raise ClaimLost
    return session


def of_turn(connection: Connection, turn: TurnKey) -> AnyRow | None:
    """Like `hold`, but return None if the turn does not hold its session."""
    place = {"owner": turn.owner, "turn_id": turn.id}
    return connection.execute(_LOCK_OF_TURN, place).one_or_none()
