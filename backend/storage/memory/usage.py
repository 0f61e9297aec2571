"""The ledger in dicts."""

from collections.abc import Iterable, Sequence
from datetime import date

from backend.domain.usage import ModelCall, Purpose, Spent
from backend.storage.ports.usage import UsageRow


class MemoryUsage:
    def __init__(self) -> None:
        self._sums: dict[tuple[date, str, str, Purpose], Spent] = {}

    def enter(self, owner: str, calls: Iterable[ModelCall], day: date) -> None:
        for call in calls:
            key = day, owner, call.model, call.purpose
            self._sums[key] = self._sums.get(key, Spent()) + Spent.of(call)

    async def usage(self, first: date, last: date, *, owner: str | None) -> Sequence[UsageRow]:
        return [
            UsageRow(owner=whose, day=day, model=model, purpose=purpose, spent=spent)
            for (day, whose, model, purpose), spent in sorted(self._sums.items())
            if first <= day <= last and owner in (None, whose)
        ]
