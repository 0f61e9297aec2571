"""Added-up usage of models, by owner, day and model."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from backend.domain.usage import ModelCall, Purpose, Spent


@dataclass(frozen=True, slots=True, kw_only=True)
class DayUsage:
    """The model calls of one UTC day, for one model and purpose."""

    day: date
    model: str
    purpose: Purpose
    spent: Spent


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerUsage:
    owner: str
    spent: Spent


class UsageStore(Protocol):
    """The ledger. The ends of turns and summaries write it in their own transactions.

    It outlives the sessions. The calls of a turn whose worker died are missing.
    """

    async def enter(self, owner: str, calls: Sequence[ModelCall]) -> None:
        """Add calls that belong to nothing that is stored. Raises: StorageError."""
        ...

    async def purge(self, *, kept_days: float) -> None:
        """Delete the sums of the UTC days that ended more than `kept_days` ago."""
        ...

    async def by_day(self, first: date, last: date, *, owner: str | None) -> Sequence[DayUsage]:
        """Return the sums from the first to the last day, by day, model and purpose in order.

        Without an owner, those of everybody.
        """
        ...

    async def by_owner(
        self, first: date, last: date, *, owner: str | None, limit: int
    ) -> Sequence[OwnerUsage]:
        """Return the sums by owner: those with the most tokens first, `limit` at most."""
        ...
