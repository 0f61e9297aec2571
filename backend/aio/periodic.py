"""Repeats a piece of work forever, even if it fails."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import structlog

from backend.aio.tasks import cancel_and_wait

logger = structlog.get_logger()

SOONEST_SECONDS = 0.05
"""The shortest interval, however often `sooner` is set."""


async def repeat(
    do: Callable[[], Awaitable[None]],
    *,
    every_seconds: float,
    name: str,
    first_seconds: float | None = None,
    sooner: asyncio.Event | None = None,
    expected: type[Exception] | tuple[type[Exception], ...] = (),
) -> None:
    """Call `do` again and again until cancelled.

    Waits `every_seconds` between two calls, and `first_seconds` before the first one. Setting
    `sooner` ends the wait early. An exception is logged and does not end the repetition: in one
    line if it is `expected`, otherwise with its traceback.
    """
    wait = every_seconds if first_seconds is None else first_seconds
    while True:
        if sooner is None:
            await asyncio.sleep(wait)
        else:
            await _until(sooner, wait)
        wait = every_seconds
        try:
            await do()
        except expected as error:
            logger.warning("recurring_failed", name=name, error=str(error))
        except Exception:  # not even a bug ends the repetition
            logger.exception("recurring_failed", name=name)


@asynccontextmanager
async def repeating(
    do: Callable[[], Awaitable[None]], *, every_seconds: float, name: str
) -> AsyncIterator[None]:
    """Run `repeat` in a task until the `async with` block ends."""
    task = asyncio.create_task(repeat(do, every_seconds=every_seconds, name=name))
    try:
        yield
    finally:
        await cancel_and_wait([task])


async def _until(sooner: asyncio.Event, seconds: float) -> None:
    await asyncio.sleep(SOONEST_SECONDS)
    with suppress(TimeoutError):
        # Not `wait_for`: before Python 3.12 it loses a cancellation that arrives with the event.
        async with asyncio.timeout(seconds - SOONEST_SECONDS):
            await sooner.wait()
    sooner.clear()
