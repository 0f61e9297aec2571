"""This worker's lease: one row, renewed on time, under which all its claims hold."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from backend.errors import StorageError

logger = structlog.get_logger()


async def keep_lease(renew: Callable[[], Awaitable[None]], *, lease_seconds: float) -> None:
    """Renew every third of the lease, so that two renewals may fail in a row. Never returns."""
    while True:
        await asyncio.sleep(lease_seconds / 3)
        try:
            await renew()
        except StorageError as error:
            logger.warning("lease_not_renewed", error=str(error))
        except Exception:
            # Whatever it is, the next renewal must come: every turn of this worker rests on it.
            logger.exception("lease_not_renewed")
