"""Polls for the effects of other processes, which announce nothing."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

START_SECONDS = 60.0
LOOK_SECONDS = 0.05

Left = TypeVar("Left")


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a server. Raises TimeoutError."""

    async def is_missing() -> bool:
        return not await holds()

    if await left_after(START_SECONDS, is_missing):
        raise TimeoutError("a server did not start in time")


async def left_after(seconds: float, look: Callable[[], Awaitable[Left]]) -> Left:
    """Poll until `look` returns something empty or the time is over. Returns its last result."""
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + seconds
    while (left := await look()) and loop.time() < give_up_at:  # noqa: ASYNC110 - see above
        await asyncio.sleep(LOOK_SECONDS)
    return left
