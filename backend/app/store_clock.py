"""The store's time, as a worker knows it, and whether the worker's own clock agrees with it."""

import math
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from backend.domain.conversation import now
from backend.storage.ports.sessions import ClockDoubt, SessionStore, StoreTime

TOLERANCE_SECONDS = 60.0
"""Clocks that are kept by NTP differ by milliseconds; by more than this, one of them is wrong."""
STEADY_SECONDS = 3600.0
"""A clock that nothing can be compared with is believed again after so long without a jump. A
service that was off for a day looks the same as a clock that is a day ahead."""


class StoreClock:
    """Asks the store with every `look`, and counts the seconds in between."""

    def __init__(
        self,
        sessions: SessionStore,
        *,
        worker: str,
        clock: Callable[[], datetime] = now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sessions = sessions
        self._worker = worker
        self._clock = clock
        self._monotonic = monotonic
        self._known: datetime | None = None
        self._known_at = 0.0
        self._jump_seconds = 0.0
        self._doubted_until = -math.inf
        self.difference_seconds = 0.0
        """The store's clock is ahead of the worker's by so much, or the clock that both share is
        ahead of what was stored last."""

    @property
    def is_trusted(self) -> bool:
        return abs(self.difference_seconds) <= TOLERANCE_SECONDS

    def now(self) -> datetime:
        """The store's time. It does not follow a worker's clock that jumps."""
        if self._known is None:
            return self._clock()
        return self._known + timedelta(seconds=self._monotonic() - self._known_at)

    async def look(self) -> None:
        """The first look belongs before anything that this worker stores. Raises: StorageError."""
        before = self._clock()
        told = await self._sessions.time(self._worker)
        differences = [_outside(told.now, before, self._clock())]
        if told.is_own_clock:
            differences.append(await self._against_stored(told))
        self.difference_seconds = max(differences, key=abs)
        self._known, self._known_at = told.now, self._monotonic()

    async def _against_stored(self, told: StoreTime) -> float:
        """The worker and the store have one clock, so only what was stored can contradict it."""
        gap = 0.0 if told.newest is None else (told.now - told.newest).total_seconds()
        jump = gap if self._known is None else (told.now - self.now()).total_seconds()
        if abs(jump) > TOLERANCE_SECONDS:
            doubt = ClockDoubt(jump, STEADY_SECONDS)
            self._doubt(doubt)
            # What is stored from now on contradicts nothing, for a worker that starts later.
            await self._sessions.doubt_clock(doubt)
        elif told.doubt is not None:
            self._doubt(told.doubt)
        if gap < -TOLERANCE_SECONDS:
            return gap
        return self._jump_seconds if self._monotonic() < self._doubted_until else 0.0

    def _doubt(self, doubt: ClockDoubt) -> None:
        self._jump_seconds = doubt.jump_seconds
        self._doubted_until = self._monotonic() + doubt.lasts_seconds


def _outside(moment: datetime, first: datetime, last: datetime) -> float:
    """Seconds after the last of two moments, or before the first, as a negative number."""
    return min(0.0, (moment - first).total_seconds()) + max(0.0, (moment - last).total_seconds())
