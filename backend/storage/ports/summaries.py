"""Sessions that wait for a summary."""

from dataclasses import dataclass
from typing import Protocol

from backend.domain.conversation import History


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleSession:
    """A session that is quiet, held for its summary.

    `history` is what was said, as far as it was asked for; `summary` is the one before.
    `failures` counts the attempts since something was said.
    """

    claim_id: str
    owner: str
    session_id: str
    history: History
    summary: str | None = None
    failures: int = 0


class SummaryStore(Protocol):
    """Which sessions have something new that no summary tells, and who is at it.

    A turn that begins or ends takes the session from whoever holds it here, and starts anew.
    """

    async def claim(
        self, *, idle_seconds: float, claim_seconds: float, history_tokens: int
    ) -> IdleSession | None:
        """Hold the session that has waited longest among those without a turn for `idle_seconds`.

        Across all workers one gets it, and for `claim_seconds` nobody else does. None if there
        is none.
        """
        ...

    async def store(self, idle: IdleSession, summary: str) -> bool:
        """Keep the summary, and let go of the session until something new is said.

        False, and nothing stored, if it is no longer held: a turn has begun, the session was
        deleted, or somebody else holds it by now.
        """
        ...

    async def postpone(self, idle: IdleSession, *, seconds: float | None, failures: int) -> None:
        """Let go of the session for so long; for None until something new is said."""
        ...
