"""Start a worker: open everything, and wait for a store that is unavailable."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import AsyncExitStack, suppress
from typing import Any

import structlog

from backend.api.dependencies import State
from backend.domain.errors import StorageError, StoreAway, UnusableSetting
from backend.telemetry import metrics

logger = structlog.get_logger()

Open = Callable[[AsyncExitStack], Awaitable[State]]

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 5.0
"""The pauses between two attempts. The longest delays the discovery of a database that is back."""

REMINDER_SECONDS = 60.0
"""The time between two log lines with the same reason."""


class Start:
    """Opens everything in a task of its own, and closes it there in reverse order.

    If the store is unavailable, `begin` returns, the task keeps trying, and `reason` says why.
    When everything is open, requests find it as `state["opened"]`.

    `begin` raises a permanent error. If that occurs later, `failure` is the line to log, and the
    server should exit. `has_broken` means that an unexpected exception has ended the attempts.
    """

    def __init__(
        self,
        open_all: Open,
        *,
        state: MutableMapping[str, Any],
        on_open: Callable[[], None],
        store: str | None,
    ) -> None:
        """`store` is the host and port of the database server, for the log, if there is one."""
        self.reason: str | None = None
        self.failure: str | None = None
        self.has_broken = False
        self._open_all = open_all
        self._state = state
        self._on_open = on_open
        self._store = store
        self._has_begun = asyncio.Event()
        self._closing = asyncio.Event()
        self._is_open = False
        self._waits_since = self._said_at = 0.0

    async def begin(self) -> None:
        """Return when everything is open, or the store was found to be unavailable.

        Raises: StorageError, if waiting would not help; UnusableSetting.
        """
        self._task = asyncio.create_task(self._hold(), name="start")
        begun = asyncio.create_task(self._has_begun.wait())
        try:
            await asyncio.wait([self._task, begun], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._task.cancel()
            raise
        finally:
            begun.cancel()
        if self._task.done():
            self._task.result()
        self._task.add_done_callback(self._broke)

    async def end(self) -> None:
        """Close everything, or stop the attempts."""
        self._closing.set()
        if not self._is_open:
            self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _hold(self) -> None:
        for pause_seconds in _pauses():
            async with AsyncExitStack() as stack:
                try:
                    opened = await self._open_all(stack)
                except (StorageError, UnusableSetting) as error:
                    self._note(error)
                else:
                    self._opened(opened)
                    await self._closing.wait()
                    return
            await asyncio.sleep(pause_seconds)

    def _note(self, error: StorageError | UnusableSetting) -> None:
        """Note why an attempt failed. Raise the error if it ends the start."""
        is_passing = isinstance(error, StoreAway)
        if self.reason is None:
            if not is_passing:
                raise error
            self._waits_since = time.monotonic()
            metrics.worker_waits(is_waiting=True)
            metrics.store_is_up(is_up=False)
        if not is_passing:
            self.failure = exit_line(error)
        reason = error.explanation if isinstance(error, StorageError) else str(error)
        self._say(reason)
        self.reason = reason
        self._has_begun.set()

    def _say(self, reason: str) -> None:
        now = time.monotonic()
        if reason == self.reason and now - self._said_at < REMINDER_SECONDS:
            return
        self._said_at = now
        waited = round(now - self._waits_since)
        logger.warning("store_awaited", reason=reason, store=self._store, waited_seconds=waited)

    def _opened(self, opened: State) -> None:
        self._is_open = True
        if self.reason is not None:
            waited = round(time.monotonic() - self._waits_since)
            logger.info("store_reached", store=self._store, waited_seconds=waited)
        self.reason = self.failure = None
        metrics.worker_waits(is_waiting=False)
        metrics.store_is_up(is_up=True)
        self._state["opened"] = opened
        self._on_open()
        self._has_begun.set()

    def _broke(self, task: asyncio.Task[None]) -> None:
        """Note an unexpected exception of an attempt, after `begin` has returned."""
        if not task.cancelled() and (error := task.exception()) and not self._is_open:
            logger.error("start_broke", exc_info=error)
            self.failure = (
                f"lex: The start failed with an unexpected {type(error).__name__}: "
                "see the traceback of start_broke in the log."
            )
            self.has_broken = True


def exit_line(error: StorageError | UnusableSetting) -> str:
    """Return the line that the process prints when its start fails."""
    if isinstance(error, UnusableSetting):
        return f"lex: {error.setting} cannot be used: {error}"
    return f"lex: {error.setting} cannot be used: {error.explanation}"


def _pauses() -> Iterator[float]:
    """Yield growing pauses with jitter, because all workers wait for the same store."""
    pause = FIRST_PAUSE_SECONDS
    while True:
        yield pause * random.uniform(0.5, 1)  # noqa: S311 - no secret
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
