"""Waits for what other processes do: nobody here could announce it, so it is looked for."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

START_SECONDS = 60.0
LOOK_SECONDS = 0.05

Left = TypeVar("Left")


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a server. Raises: TimeoutError."""

    async def is_missing() -> bool:
        return not await holds()

    if await left_after(START_SECONDS, is_missing):
        raise TimeoutError("a server did not come up")


async def left_after(seconds: float, look: Callable[[], Awaitable[Left]]) -> Left:
    """What somebody sees who looks until nothing is left, for so long at most."""
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + seconds
    while (left := await look()) and loop.time() < give_up_at:  # noqa: ASYNC110 - see above
        await asyncio.sleep(LOOK_SECONDS)
    return left
