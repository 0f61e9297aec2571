"""How something is done again and again, whatever becomes of it each time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import structlog

from backend.aio.tasks import cancel_and_wait

logger = structlog.get_logger()

SOONEST_SECONDS = 0.05
"""However often it is wanted sooner, it is not done more often than that."""


async def repeat(
    do: Callable[[], Awaitable[None]],
    *,
    every_seconds: float,
    name: str,
    first_seconds: float | None = None,
    sooner: asyncio.Event | None = None,
    expected: type[Exception] | tuple[type[Exception], ...] = (),
) -> None:
    """Never returns, and lets no failure keep it from the next time.

    That comes after `every_seconds`, or when `sooner` is set; the first time may come after
    a time of its own. A failure that is `expected` is one line in the log, any other has its
    traceback.
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
        except Exception:  # a defect is logged too, and does not end the repetition
            logger.exception("recurring_failed", name=name)


@asynccontextmanager
async def repeating(
    do: Callable[[], Awaitable[None]], *, every_seconds: float, name: str
) -> AsyncIterator[None]:
    """`repeat`, beside the block and until its end."""
    task = asyncio.create_task(repeat(do, every_seconds=every_seconds, name=name))
    try:
        yield
    finally:
        await cancel_and_wait([task])


async def _until(sooner: asyncio.Event, seconds: float) -> None:
    await asyncio.sleep(SOONEST_SECONDS)
    with suppress(TimeoutError):
        # Not `wait_for`: before Python 3.12 it swallows a cancellation that comes with the event.
        async with asyncio.timeout(seconds - SOONEST_SECONDS):
            await sooner.wait()
    sooner.clear()
