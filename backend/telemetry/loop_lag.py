"""Whether the event loop turns: how late a timer goes off that is set again and again."""

import asyncio
import time

from backend.telemetry import metrics

EVERY_SECONDS = 0.25


async def watch() -> None:
    """Never returns."""
    while True:
        due = time.perf_counter() + EVERY_SECONDS
        await asyncio.sleep(EVERY_SECONDS)
        metrics.loop_lagged(max(0.0, time.perf_counter() - due))
