"""Tracks in SQL which sessions need a summary, and which worker writes it.

A turn never waits for a summary. The search skips locked sessions, and a turn voids the claim of
the worker that summarizes its session (see `claims`).
"""

import secrets

from sqlalchemy import Connection, Float, bindparam, or_, select, update

from backend.storage.ports.summaries import IdleSession
from backend.storage.recent_turns import newest_whole_turns
from backend.storage.sql import claims, leases
from backend.storage.sql.database import Database
from backend.storage.sql.dialects import DatabaseTime
from backend.storage.sql.operations import SqlStore, writing
from backend.storage.sql.tables import sessions, turns

_IS_HELD = (
    leases.LIVING_HOLDER.where(turns.c.id == sessions.c.current_turn_id)
    .correlate(sessions)
    .exists()
)
_DUE = (
    select(sessions)
    .where(
        sessions.c.untold_since <= DatabaseTime() - bindparam("idle_seconds", type_=Float),
        or_(
            sessions.c.summary_not_before.is_(None),
            sessions.c.summary_not_before <= DatabaseTime(),
        ),
        ~_IS_HELD,
    )
    .order_by(sessions.c.untold_since)
    .limit(1)
    .with_for_update(skip_locked=True)
)
_CLAIM = (
    update(sessions)
    .where(sessions.c.owner == bindparam("this_owner"), sessions.c.id == bindparam("this_session"))
    .values(
        summary_claim=bindparam("claim_id"),
        summary_not_before=DatabaseTime() + bindparam("claim_seconds", type_=Float),
    )
)
# The claim id is a fencing token: a worker whose claim is void updates no row.
_HELD = update(sessions).where(
    sessions.c.owner == bindparam("this_owner"),
    sessions.c.id == bindparam("this_session"),
    sessions.c.summary_claim == bindparam("claim_id"),
)
_STORE = _HELD.values(summary=bindparam("new_summary"), summary_claim=None, untold_since=None)
_POSTPONE = _HELD.values(
    summary_claim=None,
    summary_failures=bindparam("new_failures"),
    summary_not_before=DatabaseTime() + bindparam("seconds", type_=Float),
)
_GIVE_UP = _HELD.values(summary_claim=None, untold_since=None)


def _claim_idle(
    connection: Connection, due: dict[str, float], claim_seconds: float, history_tokens: int
) -> IdleSession | None:
    session = connection.execute(_DUE, due).one_or_none()
    if session is None:
        return None
    claim_id = secrets.token_hex(8)
    connection.execute(
        _CLAIM,
        {
            "this_owner": session.owner,
            "this_session": session.id,
            "claim_id": claim_id,
            "claim_seconds": claim_seconds,
        },
    )
    newest_first = claims.newest_first(
        connection, session.owner, session.id, before=session.messages + 1
    )
    return IdleSession(
        claim_id=claim_id,
        owner=session.owner,
        session_id=session.id,
        history=newest_whole_turns(
            newest_first, characters=history_tokens * session.characters_per_token
        ),
        summary=session.summary,
        failures=session.summary_failures,
    )


def _store_summary(connection: Connection, idle: IdleSession, summary: str) -> bool:
    stored = connection.execute(_STORE, {**_place(idle), "new_summary": summary})
    return stored.rowcount > 0


def _postpone_summary(
    connection: Connection, idle: IdleSession, *, seconds: float | None, failures: int
) -> None:
    if seconds is None:
        connection.execute(_GIVE_UP, _place(idle))
    else:
        later = {"seconds": seconds, "new_failures": failures}
        connection.execute(_POSTPONE, {**_place(idle), **later})


def _place(idle: IdleSession) -> dict[str, str]:
    return {
        "this_owner": idle.owner,
        "this_session": idle.session_id,
        "claim_id": idle.claim_id,
    }


class SqlSummaries(SqlStore):
    def __init__(self, database: Database, *, lease_seconds: float) -> None:
        super().__init__(database)
        self._lease_seconds = lease_seconds

    async def claim(
        self, *, idle_seconds: float, claim_seconds: float, history_tokens: int
    ) -> IdleSession | None:
        due = {"idle_seconds": idle_seconds, "lease_seconds": self._lease_seconds}
        return await self.database.run(_claim_idle, due, claim_seconds, history_tokens)

    store = writing(_store_summary)
    postpone = writing(_postpone_summary)
