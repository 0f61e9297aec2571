"""The ledger in dicts."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, timedelta

from backend.domain.conversation import now
from backend.domain.usage import ModelCall, Purpose, Spent
from backend.storage.ports.usage import DayUsage, OwnerUsage


class MemoryUsage:
    def __init__(self) -> None:
        self._sums: dict[tuple[date, str, str, Purpose], Spent] = {}

    async def enter(self, owner: str, calls: Sequence[ModelCall]) -> None:
        self.enter_on(now().date(), owner, calls)

    def enter_on(self, day: date, owner: str, calls: Iterable[ModelCall]) -> None:
        for call in calls:
            key = day, owner, call.model, call.purpose
            self._sums[key] = self._sums.get(key, Spent()) + Spent.of(call)

    async def by_day(self, first: date, last: date, *, owner: str | None) -> Sequence[DayUsage]:
        sums: dict[tuple[date, str, Purpose], Spent] = {}
        for (day, _, model, purpose), spent in self._of(first, last, owner):
            sums[day, model, purpose] = sums.get((day, model, purpose), Spent()) + spent
        return [
            DayUsage(day=day, model=model, purpose=purpose, spent=spent)
            for (day, model, purpose), spent in sorted(sums.items(), key=lambda each: each[0])
        ]

    async def by_owner(
        self, first: date, last: date, *, owner: str | None, limit: int
    ) -> Sequence[OwnerUsage]:
        sums: dict[str, Spent] = {}
        for (_, whose, _, _), spent in self._of(first, last, owner):
            sums[whose] = sums.get(whose, Spent()) + spent
        most_first = sorted(sums.items(), key=lambda each: (-each[1].usage.total_tokens, each[0]))
        return [OwnerUsage(owner=whose, spent=spent) for whose, spent in most_first[:limit]]

    async def purge(self, *, kept_days: float) -> None:
        try:
            first = (now() - timedelta(days=kept_days)).date()
        except OverflowError:  # before the year 1
            return
        self._sums = {key: spent for key, spent in self._sums.items() if key[0] >= first}

    def _of(
        self, first: date, last: date, owner: str | None
    ) -> Iterator[tuple[tuple[date, str, str, Purpose], Spent]]:
        for key, spent in self._sums.items():
            if first <= key[0] <= last and owner in (None, key[1]):
                yield key, spent
