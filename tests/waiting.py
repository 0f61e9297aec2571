"""How long tests wait for what must happen: one generous limit, never a measure of speed.

A wait ends with the event that it waits for, so the limit costs nothing when all is well.
`TEST_TIME_SCALE` stretches it, and pytest's own limit for a test, on a machine that is busier
than busy.
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
    """What must happen within `seconds`, of which only those count in which this event loop could
    run: a tick that comes late, since other programs have the processor, is one tick all the same.

    Raises: TimeoutError, if it takes longer.
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
