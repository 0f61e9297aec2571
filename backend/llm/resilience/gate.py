"""Turns that have waited for a model go on one after the other, and not all in one moment."""

import asyncio
import time
from collections.abc import Callable

from backend.domain.errors import UpstreamBusy

LEAST_SPACING_SECONDS = 0.02
"""Between two turns, where nobody knows how fast the rate refills: fifty in a second."""


class Gate:
    """Of one model. `spacing_seconds` is how long its rate takes to refill for one call.

    First each turn waits for as long as it was told, then in line for those before it.
    """

    def __init__(self, spacing_seconds: Callable[[], float] = lambda: 0.0) -> None:
        self._spacing_seconds = spacing_seconds
        self._door = asyncio.Lock()
        self._opens_at = 0.0
        self._due_at: dict[object, float] = {}
        """When each of those who wait may join the line, or could."""

    @property
    def spacing_seconds(self) -> float:
        return max(LEAST_SPACING_SECONDS, self._spacing_seconds())

    def estimate_seconds(self, after_seconds: float) -> float:
        """Until a turn that may join the line after so long would be through."""
        joins_at = time.monotonic() + after_seconds
        before = sum(due_at <= joins_at for due_at in self._due_at.values())
        return after_seconds + before * self.spacing_seconds

    def check(self) -> None:
        """For a turn that has not waited: it would take what others stand in line for.

        Raises:
            UpstreamBusy: there is a line.
        """
        now = time.monotonic()
        if any(due_at <= now for due_at in self._due_at.values()):
            refusal = UpstreamBusy()  # how long is the line's to say, when it is joined
            refusal.was_asked = False
            raise refusal

    async def passed(self, after_seconds: float) -> None:
        """Wait until it is one's turn."""
        ticket = object()
        self._due_at[ticket] = time.monotonic() + after_seconds
        try:
            await asyncio.sleep(after_seconds)
            # The lock is handed on in the order in which it was asked for, and its holder sleeps
            # with it: so each turn is let go one spacing after the turn before.
            async with self._door:
                await asyncio.sleep(self._opens_at - time.monotonic())
                self._opens_at = time.monotonic() + self.spacing_seconds
        finally:
            del self._due_at[ticket]
