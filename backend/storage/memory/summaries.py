"""Tracks which sessions wait for a summary, in dicts."""

from dataclasses import replace
from itertools import count

from backend.storage.memory.records import Untold
from backend.storage.memory.sessions import MemorySessions
from backend.storage.ports.summaries import IdleSession


class MemorySummaries:
    def __init__(self, sessions: MemorySessions) -> None:
        self._sessions = sessions
        self._claim_ids = count(1)

    async def claim(
        self, *, idle_seconds: float, claim_seconds: float, history_tokens: int
    ) -> IdleSession | None:
        at = self._sessions.clock()
        due = [
            (owner, session, untold)
            for owner, session, untold in self._sessions.quiet()
            if at - untold.since >= idle_seconds and at >= untold.not_before
        ]
        if not due:
            return None
        owner, session, untold = min(due, key=lambda each: each[2].since)
        untold.not_before = at + claim_seconds
        untold.claim_id = str(next(self._claim_ids))
        return IdleSession(
            claim_id=untold.claim_id,
            owner=owner,
            session_id=session.session.id,
            history=session.history(history_tokens),
            summary=session.session.summary,
            failures=untold.failures,
        )

    async def store(self, idle: IdleSession, summary: str) -> bool:
        for _, session, untold in self._sessions.quiet():
            if untold.claim_id == idle.claim_id:
                session.session = replace(session.session, summary=summary)
                session.untold = None
                return True
        return False

    async def postpone(self, idle: IdleSession, *, seconds: float | None, failures: int) -> None:
        for _, session, untold in self._sessions.quiet():
            if untold.claim_id == idle.claim_id:
                not_before = self._sessions.clock() + (seconds or 0.0)
                later = Untold(untold.since, not_before=not_before, failures=failures)
                session.untold = None if seconds is None else later
