"""Track the store's clock, and compare it with the worker's own."""

import math
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from backend.domain.conversation import now
from backend.storage.ports.sessions import SessionStore
from backend.storage.ports.store_time import ClockDoubt, StoreTime

TOLERANCE_SECONDS = 60.0
"""Clocks that NTP keeps differ by milliseconds. If they differ by more than this, one is wrong."""
STEADY_SECONDS = 3600.0
"""After a jump, a clock that cannot be compared with another is trusted again after this time. It
may have been right: after a day without service, a correct clock looks like one a day ahead."""


def uptime() -> float:
    """Return the seconds since the machine's start, which no change of its clock affects."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class StoreClock:
    """Asks the store for its time with each `look`, and counts the seconds in between."""

    def __init__(
        self,
        sessions: SessionStore,
        *,
        worker: str,
        clock: Callable[[], datetime] = now,
        monotonic: Callable[[], float] = time.monotonic,
        uptime: Callable[[], float] = uptime,
    ) -> None:
        self._sessions = sessions
        self._worker = worker
        self._clock = clock
        self._monotonic = monotonic
        self._uptime = uptime
        self._known: datetime | None = None
        self._known_at = 0.0
        self._jump_seconds = 0.0
        self._doubted_until = -math.inf
        self.difference_seconds = 0.0
        """How far the store's clock is ahead of the worker's. If both use the same clock: how far
        that clock has jumped ahead, or is ahead of the newest stored time."""

    @property
    def is_trusted(self) -> bool:
        return abs(self.difference_seconds) <= TOLERANCE_SECONDS

    def now(self) -> datetime:
        """Return the store's time. Jumps of the worker's clock since the last look do not count."""
        if self._known is None:
            return self._clock()
        return self._known + timedelta(seconds=self._monotonic() - self._known_at)

    async def look(self) -> None:
        """Ask the store for its time, and compare the clocks.

        The first look must precede all writes of this worker, which would bear its own time.
        Raises: StorageError.
        """
        before = self._clock()
        told = await self._sessions.time(self._worker)
        differences = [_outside(told.now, before, self._clock())]
        if told.is_own_clock:
            differences.append(await self._against_stored(told))
        self.difference_seconds = max(differences, key=abs)
        self._known, self._known_at = told.now, self._monotonic()
        if told.is_own_clock and self.is_trusted:
            await self._sessions.mark_clock(self._uptime())

    async def _against_stored(self, told: StoreTime) -> float:
        """Compare a clock that worker and store share with stored times, and with its own past.

        Return the difference in seconds; 0 if there is no doubt.
        """
        gap = 0.0 if told.newest is None else (told.now - told.newest).total_seconds()
        if self._known is not None:
            jump = (told.now - self.now()).total_seconds()
        else:
            jump = 0.0 if self._has_run_as_marked(told) else gap
        if abs(jump) > TOLERANCE_SECONDS:
            doubt = ClockDoubt(jump, STEADY_SECONDS)
            self._doubt(doubt)
            # Store the doubt, too. Rows written from now on bear the new time, so a worker that
            # starts later could not detect the jump.
            await self._sessions.doubt_clock(doubt)
        elif told.doubt is not None:
            self._doubt(told.doubt)
        if gap < -TOLERANCE_SECONDS:
            return gap
        return self._jump_seconds if self._monotonic() < self._doubted_until else 0.0

    def _has_run_as_marked(self, told: StoreTime) -> bool:
        """Whether the clock and the machine agree on the time since the last mark.

        Then the service was only away. After a restart of the machine, they do not agree.
        """
        if told.mark is None:
            return False
        by_clock = (told.now - told.mark.at).total_seconds()
        by_machine = self._uptime() - told.mark.uptime_seconds
        return by_machine >= 0 and abs(by_clock - by_machine) <= TOLERANCE_SECONDS

    def _doubt(self, doubt: ClockDoubt) -> None:
        self._jump_seconds = doubt.jump_seconds
        self._doubted_until = self._monotonic() + doubt.lasts_seconds


def _outside(moment: datetime, first: datetime, last: datetime) -> float:
    """Return the seconds by which a moment is after `last`, or before `first` (negative)."""
    return min(0.0, (moment - first).total_seconds()) + max(0.0, (moment - last).total_seconds())
