"""Tracks which sessions wait for a summary, in dicts."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count

from backend.domain.turn_keys import is_given
from backend.domain.usage import ModelCall
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
            for owner, session, untold in self._sessions.untold()
            if at >= untold.not_before
            and (
                untold.is_wanted
                or (at - untold.since >= idle_seconds and not self._sessions.is_held(session))
            )
        ]
        if not due:
            return None
        owner, session, untold = min(due, key=lambda each: each[2].since)
        untold.not_before = at + claim_seconds
        untold.claim_id = str(next(self._claim_ids))
        turns = session.untold_turns(history_tokens * session.characters_per_token)
        return IdleSession(
            claim_id=untold.claim_id,
            owner=owner,
            session_id=session.session.id,
            history=[[stored.message for stored in turn] for turn in turns],
            given_turns=sum(is_given(turn[0].turn_id) for turn in turns),
            until=turns[-1][-1].position if turns else len(session.messages),
            summary=session.session.summary,
            failures=untold.failures,
        )

    async def store(
        self, idle: IdleSession, summary: str, *, calls: Sequence[ModelCall] = ()
    ) -> bool:
        self._sessions.enter(idle.owner, idle.session_id, calls)
        for _, session, untold in self._sessions.untold():
            if untold.claim_id == idle.claim_id:
                session.session = replace(session.session, summary=summary)
                session.summarized_until = idle.until
                knows_all = idle.until >= len(session.messages)
                session.untold = None if knows_all else Untold(untold.since)
                return True
        return False

    async def postpone(
        self,
        idle: IdleSession,
        *,
        seconds: float | None,
        failures: int,
        calls: Sequence[ModelCall] = (),
    ) -> None:
        self._sessions.enter(idle.owner, idle.session_id, calls)
        for _, session, untold in self._sessions.untold():
            if untold.claim_id == idle.claim_id:
                not_before = self._sessions.clock() + (seconds or 0.0)
                later = replace(untold, not_before=not_before, claim_id=None, failures=failures)
                session.untold = None if seconds is None else later
