"""The limits on a worker's turns, and the admission check that precedes a turn."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from backend.domain.usage import ModelCall


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnLimits:
    max_streams: int
    timeout_seconds: float
    grace_seconds: float = 30.0
    """How long a resumable turn continues without a reader."""
    remote_timeout_seconds: float = 15.0
    """The time within which every living worker renews its lease, and so sees stop requests."""


class Admission(Protocol):
    """Decides whether a client may start another turn. Joining a turn needs no admission."""

    async def enter(self, turn_id: str) -> None:
        """Count a new turn against the client's limits.

        Raises: TooManyRequests, BudgetExhausted, StorageError.
        """
        ...

    async def settle(self, turn_id: str, calls: Sequence[ModelCall]) -> None:
        """Count the turn's model calls against the client's budgets. Raises nothing."""
        ...

    def leave(self, turn_id: str) -> None:
        """Stop counting a turn: it has ended, or was never started."""
        ...


class NoAdmission:
    async def enter(self, turn_id: str) -> None:
        pass

    async def settle(self, turn_id: str, calls: Sequence[ModelCall]) -> None:
        pass

    def leave(self, turn_id: str) -> None:
        pass
