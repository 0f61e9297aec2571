"""The end of tasks that run until they are cancelled."""

import asyncio
from collections.abc import Iterable
from typing import Any

AGAIN_SECONDS = 1.0


async def cancel_and_wait(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel tasks and return when all have ended, however they ended.

    A cancellation can get lost: before Python 3.12, `asyncio.wait_for` drops the one that arrives
    in the tick in which its coroutine returns (https://github.com/python/cpython/issues/86296),
    and redis-py sends every command through it. A task that loops would then run forever. So a
    task that has not ended a second later is cancelled again.
    """
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=AGAIN_SECONDS)
