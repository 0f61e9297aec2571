"""Added-up usage of models, by owner, day and model."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from backend.domain.usage import Purpose, Spent


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRow:
    """The model calls of one owner on one UTC day, for one model and purpose."""

    owner: str
    day: date
    model: str
    purpose: Purpose
    spent: Spent


class UsageStore(Protocol):
    """Reads the ledger. It is written by the ends of turns and summaries, in their transactions.

    It outlives the sessions. The calls of a turn whose worker died are missing.
    """

    async def usage(self, first: date, last: date, *, owner: str | None) -> Sequence[UsageRow]:
        """Return the rows from the first to the last day, in order of day, owner, model, purpose.

        Without an owner, those of everybody.
        """
        ...
