"""What a worker does again and again: renew its lease, store what it owes, forget what is
old, sum up sessions that went quiet.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from datetime import timedelta

from backend.completion import ChatModel
from backend.conversation import now
from backend.errors import StorageError
from backend.recurring import repeat
from backend.settings import Settings
from backend.storage.ports.stores import Stores
from backend.summaries import AT_ONCE, Summaries, load_prompt
from backend.telemetry import metrics
from backend.turns import Turns

PURGE_SECONDS = 600.0
SUMMARIES_SECONDS = 10.0
"""Between two looks for sessions that are to be summarized, at most."""
FIRST_PURGE_SECONDS = 5.0
"""At most: a worker may not live long, and those that start together take turns."""


async def take_lease(
    settings: Settings, stores: Stores, running: Turns, worker: str, stack: AsyncExitStack
) -> None:
    logs_kept = timedelta(hours=settings.event_log_hours)
    sessions_kept = timedelta(days=settings.session_retention_days)

    async def renew() -> None:
        try:
            await running.renew()
        except StorageError:
            metrics.store_is_up(is_up=False)
            raise
        metrics.store_is_up(is_up=True)

    async def purge() -> None:
        await stores.sessions.purge_logs(before=now() - logs_kept)
        if sessions_kept:
            await stores.sessions.purge_sessions(before=now() - sessions_kept)

    await renew()
    stack.push_async_callback(stores.sessions.retire, worker)
    # Every third of the lease, so that two renewals may fail in a row.
    _repeat(renew, settings.lease_seconds / 3, stack, sooner=running.news)
    _repeat(running.store_owed, settings.lease_seconds / 3, stack)
    soon = random.uniform(0, FIRST_PURGE_SECONDS)  # noqa: S311 - no secret
    _repeat(purge, PURGE_SECONDS, stack, first_seconds=soon)


def summarize(
    settings: Settings, stores: Stores, model: ChatModel, stack: AsyncExitStack
) -> Callable[[], None]:
    """Returns what ends it at once."""
    idle_seconds = settings.summary_idle_seconds
    summaries = Summaries(
        store=stores.summaries,
        model=model,
        prompt=load_prompt(),
        idle_seconds=idle_seconds,
        history_tokens=settings.history_tokens,
    )
    every_seconds = min(SUMMARIES_SECONDS, max(0.25, idle_seconds / 4))
    tasks = [
        _repeat(summaries.summarize_due, every_seconds, stack)
        for _ in range(AT_ONCE if idle_seconds else 0)
    ]

    def cease() -> None:
        for task in tasks:
            task.cancel()

    return cease


def _repeat(
    do: Callable[[], Awaitable[None]],
    every_seconds: float,
    stack: AsyncExitStack,
    *,
    first_seconds: float | None = None,
    sooner: asyncio.Event | None = None,
) -> asyncio.Task[None]:
    again = repeat(
        do,
        every_seconds=every_seconds,
        first_seconds=first_seconds,
        sooner=sooner,
        name=do.__name__,
    )
    return keep(again, stack)


def keep(endless: Coroutine[None, None, None], stack: AsyncExitStack) -> asyncio.Task[None]:
    """Have it run until its turn comes to be closed."""
    task = asyncio.create_task(endless)

    async def cease() -> None:
        task.cancel()
        await asyncio.wait([task])

    stack.push_async_callback(cease)
    return task
