"""Queues the turns that wait for a model, so that they do not all resume at the same moment."""

import asyncio
import time
from collections.abc import Callable

from backend.domain.errors import UpstreamBusy

LEAST_SPACING_SECONDS = 0.02
"""The gap between two turns if the refill speed of the rate is unknown: 50 turns per second."""


class Gate:
    """The queue of one model.

    A turn first waits for the time that the upstream named. Then it joins the queue, which lets one
    turn through every `spacing_seconds`: the time that the model's rate needs to refill for a call.
    """

    def __init__(self, spacing_seconds: Callable[[], float] = lambda: 0.0) -> None:
        self._spacing_seconds = spacing_seconds
        self._door = asyncio.Lock()
        self._opens_at = 0.0
        self._due_at: dict[object, float] = {}
        """For each waiting turn, the time at which it joins the queue or has joined it."""

    @property
    def spacing_seconds(self) -> float:
        return max(LEAST_SPACING_SECONDS, self._spacing_seconds())

    def estimate_seconds(self, after_seconds: float) -> float:
        """Estimate when a turn would be through that joins the queue in `after_seconds`."""
        joins_at = time.monotonic() + after_seconds
        before = sum(due_at <= joins_at for due_at in self._due_at.values())
        return after_seconds + before * self.spacing_seconds

    def check(self) -> None:
        """Refuse a turn that has not queued while others are in the queue.

        Raises:
            UpstreamBusy: there is a queue.
        """
        now = time.monotonic()
        if any(due_at <= now for due_at in self._due_at.values()):
            refusal = UpstreamBusy()  # without a time: `estimate_seconds` knows it better
            refusal.was_asked = False
            raise refusal

    async def passed(self, after_seconds: float) -> None:
        """Wait for `after_seconds`, and then for the turns that queued earlier."""
        ticket = object()
        self._due_at[ticket] = time.monotonic() + after_seconds
        try:
            await asyncio.sleep(after_seconds)
            # asyncio.Lock is fair, and its holder sleeps while it holds the lock. So the turns pass
            # in order, one spacing apart.
            async with self._door:
                await asyncio.sleep(self._opens_at - time.monotonic())
                self._opens_at = time.monotonic() + self.spacing_seconds
        finally:
            del self._due_at[ticket]
