"""Measures how late timers of the event loop fire: late ones mean that something blocks it."""

import asyncio
import time
from collections.abc import Callable

from backend.telemetry import metrics

EVERY_SECONDS = 0.05

USUAL_SECONDS = 0.01
"""The delay of timers in a healthy loop, which rounds to milliseconds and has other work."""


class LoopLag:
    """Watches the event loop that runs `watch`. `observed` is called with each lag in seconds."""

    def __init__(self, observed: Callable[[float], None] = lambda _: None) -> None:
        self._observed = observed
        self._stood_seconds = 0.0
        self._due = float("inf")

    async def watch(self) -> None:
        """Observe the lag of one timer after the other. Never returns."""
        while True:
            self._due = time.perf_counter() + EVERY_SECONDS
            await asyncio.sleep(EVERY_SECONDS)
            now = time.perf_counter()
            lag_seconds = max(0.0, now - self._due)
            metrics.loop_lagged(lag_seconds)
            self._observed(lag_seconds)
            self._stood_seconds, self._due = self.stood_still(now), float("inf")

    def stood_still(self, now: float) -> float:
        """Return the seconds for which the loop has stood still until `now`. It never decreases.

        `now` is a time of `time.perf_counter`. A stall that lasts already counts, so a caller that
        the loop resumes before our timer sees it too. Each stall is measured up to `EVERY_SECONDS`
        plus `USUAL_SECONDS` too short.
        """
        # Not by `standing_seconds`: each part of each turn asks.
        standing = now - self._due - USUAL_SECONDS
        return self._stood_seconds + standing if standing > 0 else self._stood_seconds

    def standing_seconds(self, now: float) -> float:
        """Return for how long the loop has stood still by now; 0 while it moves."""
        return max(0.0, now - self._due - USUAL_SECONDS)
