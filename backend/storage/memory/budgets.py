"""Budgets in dicts."""

import time
from collections.abc import Callable, Sequence

from backend.storage.ports.budgets import Amount, Budget, Exhausted


class MemoryBudgets:
    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._used: dict[tuple[str, int], int] = {}
        self._ends: dict[tuple[str, int], float] = {}
        self._reserved: dict[str, dict[str, tuple[int, float]]] = {}
        """Amounts and their expiry, by budget and turn."""

    async def reserve(
        self, turn_id: str, amounts: Sequence[Amount], *, expires_seconds: float
    ) -> Sequence[Exhausted]:
        now = self._clock()
        full = [
            Exhausted(each.budget, each.budget.seconds - now % each.budget.seconds)
            for each in amounts
            if self._taken(each.budget, now) >= each.budget.limit
        ]
        if not full:
            for each in amounts:
                held = self._reserved.setdefault(each.budget.key, {})
                held[turn_id] = each.amount, now + expires_seconds
        return full

    async def settle(self, turn_id: str, amounts: Sequence[Amount]) -> None:
        for held in self._reserved.values():
            held.pop(turn_id, None)
        now = self._clock()
        for each in amounts:
            window = _window(each.budget, now)
            self._used[window] = self._used.get(window, 0) + each.amount
            self._ends[window] = window[1] + each.budget.seconds

    async def used(self, budgets: Sequence[Budget]) -> Sequence[int]:
        now = self._clock()
        return [self._used.get(_window(budget, now), 0) for budget in budgets]

    async def purge(self) -> None:
        now = self._clock()
        for window in [window for window, end in self._ends.items() if end <= now]:
            del self._used[window], self._ends[window]
        for key, held in list(self._reserved.items()):
            alive = {turn: (amount, end) for turn, (amount, end) in held.items() if end > now}
            self._reserved[key] = alive
            if not alive:
                del self._reserved[key]

    def _taken(self, budget: Budget, now: float) -> int:
        held = self._reserved.get(budget.key, {}).values()
        return self._used.get(_window(budget, now), 0) + sum(
            amount for amount, end in held if end > now
        )


def _window(budget: Budget, now: float) -> tuple[str, int]:
    return budget.key, int(now // budget.seconds) * budget.seconds
