"""What a worker does again and again: renew its lease, forget old logs."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from backend.errors import StorageError

logger = structlog.get_logger()


async def repeat(
    do: Callable[[], Awaitable[None]],
    *,
    every_seconds: float,
    name: str,
    first_seconds: float | None = None,
) -> None:
    """Never returns, and lets no failure keep it from the next time.

    The first time is after `first_seconds`, or else after the same time as every other.
    """
    await asyncio.sleep(every_seconds if first_seconds is None else first_seconds)
    while True:
        try:
            await do()
        except StorageError as error:
            logger.warning("recurring_failed", name=name, error=str(error))
        except Exception:
            logger.exception("recurring_failed", name=name)
        await asyncio.sleep(every_seconds)
