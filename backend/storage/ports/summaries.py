"""Sessions that wait for a summary."""

from dataclasses import dataclass
from typing import Protocol

from backend.domain.conversation import History


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleSession:
    """An idle session, claimed for writing its summary.

    `history` has the newest turns that fit the requested budget, and `summary` is the previous one.
    `failures` counts the failed attempts since the last turn.
    """

    claim_id: str
    owner: str
    session_id: str
    history: History
    summary: str | None = None
    failures: int = 0


class SummaryStore(Protocol):
    """Tracks the sessions whose newest turns are not summarized yet, and who works on them.

    When a turn begins or ends, it voids the claim of its session here, and the wait starts again.
    """

    async def claim(
        self, *, idle_seconds: float, claim_seconds: float, history_tokens: int
    ) -> IdleSession | None:
        """Claim the session that has waited longest, if it was idle for `idle_seconds`.

        Across all workers, only one gets it, and for `claim_seconds` nobody else can. Returns None
        if no session is due.
        """
        ...

    async def store(self, idle: IdleSession, summary: str) -> bool:
        """Store the summary. The session is not due again before its next turn.

        Returns False and stores nothing if the claim is void: a turn has begun, the session was
        deleted, or another worker has claimed it meanwhile.
        """
        ...

    async def postpone(self, idle: IdleSession, *, seconds: float | None, failures: int) -> None:
        """Release the session for `seconds`; None means until its next turn."""
        ...
