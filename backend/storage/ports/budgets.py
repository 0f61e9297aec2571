"""Counters of what clients have used up in fixed windows of time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Budget:
    """A client's budget. `key` names both and its window; `limit` is per `seconds`.

    Windows begin at multiples of `seconds` since 1970, so those of a day begin at midnight UTC.
    """

    key: str
    limit: int
    seconds: int


@dataclass(frozen=True, slots=True)
class Amount:
    budget: Budget
    amount: int


@dataclass(frozen=True, slots=True)
class Exhausted:
    """A budget with nothing left. Its next window begins in `seconds`."""

    budget: Budget
    seconds: float


class BudgetStore(Protocol):
    """Counts for all workers that share the store.

    A budget has something left as long as its limit is greater than what was settled in this
    window and what is reserved. Reservations count until they are settled, or expire.
    """

    async def reserve(
        self, turn_id: str, amounts: Sequence[Amount], *, expires_seconds: float
    ) -> Sequence[Exhausted]:
        """Reserve all amounts, or none and return the budgets that have nothing left."""
        ...

    async def settle(self, turn_id: str, amounts: Sequence[Amount]) -> None:
        """Drop the turn's reservations, and count what it has really used."""
        ...

    async def used(self, budgets: Sequence[Budget]) -> Sequence[int]:
        """Return what was settled in the current window of each."""
        ...

    async def purge(self) -> None:
        """Delete windows and reservations that are over."""
        ...
