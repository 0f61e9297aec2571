"""The recurring tasks of a worker: leases, unstored endings, lost turns, retention, summaries."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack

import structlog

from backend.agent.loop import Assistant
from backend.agent.summaries import AT_ONCE, Summaries, load_prompt
from backend.aio.periodic import repeat
from backend.aio.tasks import cancel_and_wait
from backend.app.retention import Retention
from backend.app.store_clock import StoreClock
from backend.domain.errors import StorageError
from backend.llm.resilience.shared_rates import LiveWorkers
from backend.settings import Settings
from backend.storage.ports.stores import Stores
from backend.telemetry import metrics
from backend.turns.turns import Turns

logger = structlog.get_logger()

PURGE_SECONDS = 600.0
MAINTAIN_SECONDS = 3600.0
CLOCK_SECONDS = 10.0
"""The interval of checks of the store's clock, each of which is one small query."""
SUMMARIES_SECONDS = 10.0
"""The longest interval of searches for sessions to summarize."""
FIRST_PURGE_SECONDS = 5.0
"""The longest delay of the first purge: short, because a worker may not live long, and random, so
that workers that start together do not purge together."""


async def take_lease(
    settings: Settings,
    stores: Stores,
    turns: Turns,
    worker: str,
    live_workers: LiveWorkers,
    stack: AsyncExitStack,
) -> None:
    """Take the worker's lease, and start the tasks that depend on it.

    Each renewal also counts the `live_workers`.

    Raises: StorageError, if the first renewal fails.
    """

    async def renew() -> None:
        try:
            await turns.renew()
            live_workers.count = max(1, await stores.sessions.live_workers())
        except StorageError:
            metrics.store_is_up(is_up=False)
            raise
        metrics.store_is_up(is_up=True)

    async def close_lost() -> None:
        if closed := await stores.sessions.close_lost():
            logger.warning("lost_turns_closed", turns=closed)

    await renew()
    stack.push_async_callback(stores.sessions.retire, worker)
    # Three renewals per lease, so that two in a row may fail.
    _repeat(renew, settings.lease_seconds / 3, stack, sooner=turns.wake)
    _repeat(turns.store_endings, settings.lease_seconds / 3, stack)
    _repeat(close_lost, settings.lease_seconds, stack)


def forget(settings: Settings, stores: Stores, clock: StoreClock, stack: AsyncExitStack) -> None:
    """Start to delete old logs and sessions, and to watch the clock that decides their age."""
    retention = Retention(
        stores.sessions,
        clock,
        logs_kept_seconds=settings.event_log_hours * 3600,
        sessions_kept_seconds=settings.session_retention_days * 86400,
        usage=stores.usage,
        usage_kept_days=settings.usage_retention_days,
    )
    soon = random.uniform(0, FIRST_PURGE_SECONDS)  # noqa: S311 - no secret
    _repeat(retention.purge, PURGE_SECONDS, stack, first_seconds=soon)
    _repeat(retention.watch_clock, CLOCK_SECONDS, stack)


def maintain(stores: Stores, stack: AsyncExitStack) -> None:
    """Start to prepare the storage of the next days."""
    _repeat(stores.maintain, MAINTAIN_SECONDS, stack)


def forget_budgets(stores: Stores, stack: AsyncExitStack) -> None:
    """Start to delete the windows of budgets that are over."""
    _repeat(stores.budgets.purge, PURGE_SECONDS, stack)


def summarize(
    settings: Settings, stores: Stores, assistant: Assistant, stack: AsyncExitStack
) -> Callable[[], None]:
    """Start to write the summaries that are due. Return a function that stops this at once."""
    idle_seconds = settings.summary_idle_seconds
    summaries = Summaries(
        store=stores.summaries,
        model=assistant.model,
        prompt=load_prompt(),
        idle_seconds=idle_seconds,
        budget_tokens=lambda: assistant.budget_tokens,
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
        expected=StorageError,
        name=do.__name__,
    )
    return keep(again, stack)


def keep(endless: Coroutine[None, None, None], stack: AsyncExitStack) -> asyncio.Task[None]:
    """Run a coroutine until the stack closes, which cancels it."""
    task = asyncio.create_task(endless)

    stack.push_async_callback(cancel_and_wait, [task])
    return task
