"""Sessions that wait for a summary."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from backend.domain.conversation import History
from backend.domain.usage import ModelCall


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleSession:
    """A session, claimed for writing its summary.

    `summary` is the previous one. `history` has the turns after those that it knows of: the oldest
    that fit the requested budget, at least one. It reaches to the message at position `until`.
    The first `given_turns` of the history are the caller's word. `failures` counts the failed
    attempts since the last turn.
    """

    claim_id: str
    owner: str
    session_id: str
    history: History
    given_turns: int = 0
    until: int = 0
    summary: str | None = None
    failures: int = 0


class SummaryStore(Protocol):
    """Tracks the sessions whose newest turns are not summarized yet, and who works on them.

    A session is due when it was idle for some time, and at once when its history is about to be
    cut. When a turn begins or ends, the wait of an idle session starts again, and its claim is
    void. A claim because of a cut stays valid, even while a turn runs.
    """

    async def claim(
        self, *, idle_seconds: float, claim_seconds: float, history_tokens: int
    ) -> IdleSession | None:
        """Claim the session that has waited longest of those that are due.

        Across all workers, only one gets it, and for `claim_seconds` nobody else can. Returns None
        if no session is due.
        """
        ...

    async def store(
        self, idle: IdleSession, summary: str, *, calls: Sequence[ModelCall] = ()
    ) -> bool:
        """Store the summary, and enter the calls that it took into the ledger.

        The session is due again when a message follows that it misses.

        Returns False and stores no summary if the claim is void: a turn has begun, the session was
        deleted, or another worker has claimed it meanwhile.
        """
        ...

    async def postpone(
        self,
        idle: IdleSession,
        *,
        seconds: float | None,
        failures: int,
        calls: Sequence[ModelCall] = (),
    ) -> None:
        """Release the session for `seconds`; None means until its next turn.

        Enters the calls of the failed attempt into the ledger, even if the claim is void.
        """
        ...
