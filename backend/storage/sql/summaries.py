"""Tracks in SQL which sessions need a summary, and which worker writes it.

A turn never waits for a summary. The search skips locked sessions, and a turn voids the claim of
the worker that summarizes its idle session (see `claims`).
"""

import secrets
from collections.abc import Sequence

from sqlalchemy import Connection, Float, and_, bindparam, case, or_, select, update

from backend.domain.turn_keys import is_given
from backend.domain.usage import ModelCall
from backend.storage.history import oldest_that_fit
from backend.storage.ports.summaries import IdleSession
from backend.storage.sql import histories, leases, ledger, ledger_rows
from backend.storage.sql.database import Database
from backend.storage.sql.dialects import DatabaseNow, DatabaseTime
from backend.storage.sql.operations import SqlStore, writing
from backend.storage.sql.rows import AnyRow
from backend.storage.sql.tables import sessions

CANDIDATES = 16
"""How many sessions one search tries to lock: more than workers that search at one moment."""

_IS_IDLE = sessions.c.untold_since <= DatabaseTime() - bindparam("idle_seconds", type_=Float)
_IS_DUE = (
    sessions.c.untold_since.is_not(None),
    or_(sessions.c.summary_wanted.is_(True), and_(_IS_IDLE, ~leases.IS_HELD)),
    or_(
        sessions.c.summary_not_before.is_(None),
        sessions.c.summary_not_before <= DatabaseTime(),
    ),
)
_DUE = (
    select(sessions.c.owner, sessions.c.id)
    .where(*_IS_DUE)
    .order_by(sessions.c.untold_since)
    .limit(CANDIDATES)
)
# Locks one by one: a sharded database can only lock rows of one owner at a time.
_STILL_DUE = (
    select(sessions)
    .where(
        sessions.c.owner == bindparam("this_owner"),
        sessions.c.id == bindparam("this_session"),
        *_IS_DUE,
    )
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
_STORE = _HELD.values(
    summary=bindparam("new_summary"),
    summary_until=bindparam("until"),
    summary_wanted=False,
    summary_claim=None,
    summary_not_before=None,
    untold_since=case(
        (sessions.c.messages > bindparam("until"), sessions.c.untold_since), else_=None
    ),
)
_POSTPONE = _HELD.values(
    summary_claim=None,
    summary_failures=bindparam("new_failures"),
    summary_not_before=DatabaseTime() + bindparam("seconds", type_=Float),
)
_THIS = (
    sessions.c.owner == bindparam("this_owner"),
    sessions.c.id == bindparam("this_session"),
)
_SPENT = select(sessions.c.spent).where(*_THIS).with_for_update()
_SPEND = (
    update(sessions).where(*_THIS).values(spent=bindparam("new_spent", type_=sessions.c.spent.type))
)
_GIVE_UP = _HELD.values(summary_claim=None, untold_since=None, summary_wanted=False)


def _claim_idle(
    connection: Connection, due: dict[str, float], claim_seconds: float, history_tokens: int
) -> IdleSession | None:
    session = _locked(connection, due)
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
    # The turn that runs now, if there is one, is told when it has ended.
    running = session.current_turn_id if session.summary_wanted else None
    untold = histories.oldest_first(
        connection, session.owner, session.id, after=session.summary_until or 0
    )
    turns = oldest_that_fit(
        (stored for stored in untold if stored.turn_id != running),
        history_tokens * session.characters_per_token,
    )
    return IdleSession(
        claim_id=claim_id,
        owner=session.owner,
        session_id=session.id,
        history=[[stored.message for stored in turn] for turn in turns],
        given_turns=sum(is_given(turn[0].turn_id) for turn in turns),
        until=turns[-1][-1].position if turns else session.messages,
        summary=session.summary,
        failures=session.summary_failures or 0,
    )


def _locked(connection: Connection, due: dict[str, float]) -> AnyRow | None:
    """Lock and return the first session that is due and that no other transaction has locked."""
    for owner, session_id in connection.execute(_DUE, due).all():
        this = {**due, "this_owner": owner, "this_session": session_id}
        if (session := connection.execute(_STILL_DUE, this).one_or_none()) is not None:
            return session
    return None


def _store_summary(
    connection: Connection, idle: IdleSession, summary: str, *, calls: Sequence[ModelCall] = ()
) -> bool:
    stored = connection.execute(
        _STORE, {**_place(idle), "new_summary": summary, "until": idle.until}
    )
    _enter(connection, idle, calls)
    return stored.rowcount > 0


def _postpone_summary(
    connection: Connection,
    idle: IdleSession,
    *,
    seconds: float | None,
    failures: int,
    calls: Sequence[ModelCall] = (),
) -> None:
    if seconds is None:
        connection.execute(_GIVE_UP, _place(idle))
    else:
        later = {"seconds": seconds, "new_failures": failures}
        connection.execute(_POSTPONE, {**_place(idle), **later})
    _enter(connection, idle, calls)


def _enter(connection: Connection, idle: IdleSession, calls: Sequence[ModelCall]) -> None:
    """Enter the calls, whether or not the claim holds: they were paid for."""
    if not calls:
        return
    this = {"this_owner": idle.owner, "this_session": idle.session_id}
    session = connection.execute(_SPENT, this).one_or_none()
    if session is not None:
        spent = ledger_rows.added(session.spent, calls)
        connection.execute(_SPEND, {**this, "new_spent": spent})
    at = connection.execute(select(DatabaseNow().label("at"))).scalar_one()
    ledger.enter(connection, idle.owner, calls, at)


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
