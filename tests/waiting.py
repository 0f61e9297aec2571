"""One generous time limit for everything that tests wait for. It never measures speed.

A wait ends as soon as its event occurs, so a long limit costs nothing in a passing test.
`TEST_TIME_SCALE` multiplies it, and pytest's limit per test, on a busy machine.
"""

import asyncio
import os
from collections.abc import Awaitable
from typing import TypeVar

TIME_SCALE = float(os.environ.get("TEST_TIME_SCALE", "1"))
LIMIT_SECONDS = 60 * TIME_SCALE

TICK_SECONDS = 0.01

Result = TypeVar("Result")


def waiting() -> asyncio.Timeout:
    """`async with waiting():` fails if the block does not end in time."""
    return asyncio.timeout(LIMIT_SECONDS)


async def within_limit(awaited: Awaitable[Result]) -> Result:
    async with waiting():
        return await awaited


async def at_once(awaited: Awaitable[Result], *, seconds: float) -> Result:
    """Await something that must happen within `seconds`, on a busy machine too.

    The time is counted in ticks of this event loop. A tick that is late because other programs use
    the processor counts as one tick.

    Raises:
        TimeoutError: it took longer.
    """
    happening = asyncio.ensure_future(awaited)
    ticks = 0
    try:
        while not happening.done() and ticks * TICK_SECONDS < seconds:
            await asyncio.wait([happening], timeout=TICK_SECONDS)
            ticks += 1
        if not happening.done():
            raise TimeoutError
        return happening.result()
    finally:
        happening.cancel()
        await asyncio.wait([happening])
