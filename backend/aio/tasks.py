"""Ends tasks that run until they are cancelled."""

import asyncio
from collections.abc import Iterable
from typing import Any

AGAIN_SECONDS = 1.0
"""How long to wait for a task before it is cancelled again."""


async def cancel_and_wait(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel tasks, and return when all have ended, with or without an exception.

    A cancellation can get lost: before Python 3.12, `asyncio.wait_for` drops one that arrives in
    the tick in which its coroutine returns (https://github.com/python/cpython/issues/86296), and
    redis-py uses it for every command. A task that loops would then run forever. So a task that
    has not ended after `AGAIN_SECONDS` is cancelled again.
    """
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=AGAIN_SECONDS)
