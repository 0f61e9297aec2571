"""Measures how late timers of the event loop fire: late ones mean that something blocks it."""

import asyncio
import time

from backend.telemetry import metrics

EVERY_SECONDS = 0.25


async def watch() -> None:
    """Observe the lag of one timer after the other. Never returns."""
    while True:
        due = time.perf_counter() + EVERY_SECONDS
        await asyncio.sleep(EVERY_SECONDS)
        metrics.loop_lagged(max(0.0, time.perf_counter() - due))
