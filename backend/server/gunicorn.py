"""Lex under gunicorn: the worker class, the logger class and the arbiter's hooks.

`deploy/gunicorn.conf.py` refers to them. The arbiter is gunicorn's parent process, which forks and
watches the workers. In a reload (SIGHUP), old workers serve on until a new one serves.
"""

import asyncio
import faulthandler
import mmap
import os
import signal
import socket
import time
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any, cast

import structlog
import uvicorn
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger
from gunicorn.workers import base

from backend.network.exposure import Exposure
from backend.server.server import Server, close_stalled, config_of
from backend.telemetry.worker_deaths import worker_died

logger = structlog.get_logger()

NOTIFY_SECONDS = 1

SUCCESSION_SECONDS = 30
"""An old worker waits for its successor until the successor has been silent for this long."""

ANOTHER_START_SECONDS = 10
"""The pause before gunicorn may retry a worker that failed to start while others serve."""

# The four below are memory that the arbiter shares with every worker that it forks. gunicorn
# numbers workers in the order of their fork and calls this number their age.

_ages = memoryview(mmap.mmap(-1, 8 * 256)).cast("Q")
"""The ages of workers that have begun to serve. Each has a slot of its own, so that workers that
start at the same time do not overwrite each other."""

_starting_at = memoryview(mmap.mmap(-1, 8)).cast("d")
"""When a successor last reported that it is starting, in seconds of the monotonic clock, which all
processes of a machine share."""

_has_halted = memoryview(mmap.mmap(-1, 1))
"""1 once a worker has failed in the way that makes the arbiter stop."""

_awaited = memoryview(mmap.mmap(-1, 8)).cast("Q")
"""The age of the first worker that replaces the old ones in the latest reload."""

_endings = memoryview(mmap.mmap(-1, 256))
"""How workers have ended, each in a slot of its own like `_ages`."""

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
"""The signals that tell a worker to leave."""

_RUNS, _IN_ORDER, _FAILED = 1, 2, 3
"""A killed worker leaves `_RUNS`; one that ended before it handled signals leaves 0."""


class WorkerServer(Server):
    """The server of one worker, which shares its listeners with other workers.

    The signals differ from those of `Server`. gunicorn sends SIGTERM to a worker that it has
    replaced or no longer needs, and repeats it every second; a supervisor may send it to all
    processes at once. So a repeated SIGTERM shortens nothing: only SIGQUIT does. SIGINT says that
    the whole service stops, so no successor will come (see `pass_sigterm_on`).
    """

    def __init__(self, config: uvicorn.Config, worker: "Worker") -> None:
        super().__init__(config)
        self._worker = worker
        self._listeners: list[socket.socket] = []
        self._serves = False

    @property
    def was_told_to_leave(self) -> bool:
        return bool(self._signals)

    @property
    def _is_hurried(self) -> bool:
        return signal.SIGQUIT in self._signals

    @property
    def _is_replaced(self) -> bool:
        return signal.SIGINT not in self._signals

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections once the store is open; until then, leave them to other workers."""
        self._listeners = sockets or []
        if not await self._wait_until_open():
            self.should_exit = True
            return
        for each in self._listeners:
            await self._listen_at(each)
        self._serves = True
        _ages[self._worker.age % len(_ages)] = self._worker.age

    def _exposure(self, sockets: list[socket.socket] | None) -> Exposure:  # noqa: ARG002 - none are passed at first
        return super()._exposure(self._listeners)

    async def _wait_until_open(self) -> bool:
        """Start the application and wait for its store.

        Returns False if this worker must leave first. If it failed while others serve, it pauses
        before it returns.

        Raises:
            SystemExit: the first worker of the service failed to start, so the arbiter stops.
        """
        try:
            await super().startup(sockets=[])
        except SystemExit:
            if self._is_one_more:
                await self._pause()
            elif self._claim_halt():
                raise
            return False
        while "opened" not in self._state:
            if self._signals:
                return False
            if self._state["start"].failure and not self._is_one_more:
                if self._claim_halt():
                    self._check_start()
                return False
            if self._state["start"].has_broken:
                await self._pause()
                return False
            await asyncio.sleep(0.05)
        return True

    def _claim_halt(self) -> bool:
        """True for the first failed worker only. gunicorn crashes if a second one makes it halt."""
        is_first = not _has_halted[0]
        _has_halted[0] = 1
        return is_first

    @property
    def _is_one_more(self) -> bool:
        """Whether a worker has served before. Then the failure of this one must not stop all."""
        return max(_ages) > 0

    async def _pause(self) -> None:
        """Delay the exit: the arbiter replaces this worker at once, and that may fail as fast."""
        logger.error("worker_not_started", again_in_seconds=ANOTHER_START_SECONDS)
        until = time.monotonic() + ANOTHER_START_SECONDS
        while not self._signals and time.monotonic() < until:  # noqa: ASYNC110 - a signal handler sets no event
            await asyncio.sleep(0.05)

    async def _listen_at(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        backlog = self.config.backlog
        self.servers.append(
            await loop.create_server(self._connection, sock=listener, backlog=backlog)
        )
        close_stalled(listener, self._state["config"].send_timeout_seconds)

    async def _until_succeeded(self) -> None:
        """In a reload, serve on until a successor does, or has been silent for too long.

        The arbiter tells old workers to leave when it has forked the new ones, which may still
        wait long for their store. If the new ones fail and the arbiter stops, this wait still fits
        into the time that `deploy/gunicorn.conf.py` gives to the end of a worker.
        """
        told_at = time.monotonic()
        while self._is_to_be_succeeded:
            silent_since = max(told_at, _starting_at[0])
            if time.monotonic() - silent_since > SUCCESSION_SECONDS:
                return
            await asyncio.sleep(0.05)

    @property
    def _is_to_be_succeeded(self) -> bool:
        has_come = max(_ages) >= _awaited[0]
        return not (has_come or self._is_hurried) and self._is_replaced and self._has_arbiter

    @property
    def _has_arbiter(self) -> bool:
        return os.getppid() == self._worker.ppid

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        notifying = asyncio.create_task(self._notify())
        try:
            await super().serve(sockets=sockets)
        finally:
            notifying.cancel()

    async def _notify(self) -> None:
        """Tell the arbiter every second that the event loop runs, from startup through shutdown.

        Without this, the arbiter would kill the worker after its `timeout`. Also leaves when the
        arbiter has died.
        """
        while True:
            self._worker.notify()
            if not self._serves and self._worker.age >= _awaited[0]:
                _starting_at[0] = time.monotonic()
            if not self._has_arbiter and not self._signals:
                logger.error("arbiter_lost")
                self.handle_exit(signal.SIGTERM, None)
            await asyncio.sleep(NOTIFY_SECONDS)


class Worker(base.Worker):
    """gunicorn's `worker_class`."""

    def init_signals(self) -> None:
        """Let signals end the process until the server handles them."""
        for number in self.SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        self._end_as(_RUNS)
        for number in _ENDING:
            signal.signal(number, self._end_early)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
        # Only the arbiter reloads, even if SIGHUP was sent to the whole process group.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, self.handle_usr1)
        # The arbiter ends a hanging worker with SIGABRT. This prints where it hangs.
        faulthandler.enable()

    def run(self) -> None:
        server = WorkerServer(config_of(self.wsgi, backlog=self.cfg.backlog), self)
        signal.signal(signal.SIGQUIT, server.handle_exit)
        # The plain sockets: uvloop closes descriptors that gunicorn's wrappers believe to own.
        try:
            server.run(sockets=[cast(Any, listener).sock for listener in self.sockets])
        except BaseException:  # also SystemExit: whatever ends the server early is a failure
            self._end_as(_FAILED)
            raise
        self._end_as(_IN_ORDER if server.was_told_to_leave else _FAILED)

    def _end_early(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a signal handler's form
        """End by the signal, as one that was told to."""
        self._end_as(_IN_ORDER)
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    def _end_as(self, ending: int) -> None:
        _endings[self.age % len(_endings)] = ending


class PlainLogger(Logger):
    """gunicorn's `logger_class`: its lines go through the service's own log."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True


def await_successors(arbiter: Arbiter) -> None:
    """gunicorn's `on_reload`, which it calls before it forks the new workers."""
    _awaited[0] = arbiter.worker_age + 1


def count_death(worker: base.Worker) -> None:
    """Count a worker that has ended, unless it was told to. For gunicorn's `child_exit`."""
    slot = worker.age % len(_endings)
    ending, _endings[slot] = _endings[slot], 0
    if worker.aborted:
        worker_died("timeout")
    elif ending in (_RUNS, _FAILED):
        worker_died("signal" if ending == _RUNS else "exit")


def pass_sigterm_on(arbiter: Arbiter) -> None:
    """gunicorn's `when_ready`: pass SIGTERM on to the workers at once.

    The first SIGTERM reaches them as SIGINT (the service stops), each further one as SIGQUIT
    (stop faster). The arbiter alone would not do: it handles no signal during a reload, and
    ignores a second SIGTERM.
    """
    sigterms = 0

    def pass_on(sig: int, frame: FrameType | None) -> None:
        nonlocal sigterms
        sigterms += 1
        for pid in list(arbiter.WORKERS):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT if sigterms == 1 else signal.SIGQUIT)
        arbiter.signal(sig, frame)

    signal.signal(signal.SIGTERM, pass_on)
    # Python forgets signals that arrive during a fork. While they are blocked, they wait until the
    # worker handles them (`Worker.init_signals`).
    os.register_at_fork(
        before=partial(signal.pthread_sigmask, signal.SIG_BLOCK, _ENDING),
        after_in_parent=partial(signal.pthread_sigmask, signal.SIG_UNBLOCK, _ENDING),
    )
