"""How many turns there may be, how long they may take, and what a query must pass before."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnLimits:
    max_streams: int
    timeout_seconds: float
    grace_seconds: float = 30.0
    """How long a resumable turn goes on that nobody reads."""
    remote_timeout_seconds: float = 15.0
    """The time in which every living worker has looked at the store."""


class Admission(Protocol):
    """A query must pass it to become a turn, but not to join one."""

    async def enter(self, turn_id: str) -> None:
        """Raises: TooManyRequests."""
        ...

    def leave(self, turn_id: str) -> None:
        """The turn that entered has ended, or was never begun."""
        ...


class NoAdmission:
    """Lets every query in."""

    async def enter(self, turn_id: str) -> None:
        pass

    def leave(self, turn_id: str) -> None:
        pass
