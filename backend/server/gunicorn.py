"""The server under gunicorn: a worker, its lines in the log, and what the arbiter passes on to it.

`deploy/gunicorn.conf.py` names them.
"""

import asyncio
import faulthandler
import mmap
import os
import signal
import socket
import time
from contextlib import suppress
from types import FrameType
from typing import Any, cast

import structlog
import uvicorn
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger
from gunicorn.workers import base

from backend.network.exposure import Exposure
from backend.server.server import Server, close_stalled, config_of

logger = structlog.get_logger()

NOTIFY_SECONDS = 1

SUCCESSION_SECONDS = 30
"""How long a successor may be silent until nobody waits for it any more."""

ANOTHER_START_SECONDS = 10
"""Between two attempts of a worker to start that others do well without."""

_ages = memoryview(mmap.mmap(-1, 8 * 256)).cast("Q")
"""How old those are that have begun to serve, in gunicorn's count of workers. It is the arbiter's
memory, shared with all whom it forks; workers that begin at the same time have a place each."""

_starting_at = memoryview(mmap.mmap(-1, 8)).cast("d")
"""When a worker last said that it is about to replace those, by the clock of the machine."""

_has_halted = memoryview(mmap.mmap(-1, 1))
"""Whether a worker has failed in a way for which the arbiter halts."""

_awaited = memoryview(mmap.mmap(-1, 8)).cast("Q")
"""How old the first is that is to replace those that the arbiter sends away."""


class WorkerServer(Server):
    """One of several that share a listener, and their arbiter.

    gunicorn sends SIGTERM to a worker that it has replaced or that is one too many, and sends
    it again every second; a supervisor may send it to all processes at once. So only SIGQUIT
    is haste, and SIGINT says that all workers leave (see `pass_sigterm_on`).
    """

    def __init__(self, config: uvicorn.Config, worker: "Worker") -> None:
        super().__init__(config)
        self._worker = worker
        self._listeners: list[socket.socket] = []
        self._serves = False

    @property
    def _is_hurried(self) -> bool:
        return signal.SIGQUIT in self._signals

    @property
    def _is_replaced(self) -> bool:
        return signal.SIGINT not in self._signals

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nothing before everything is open: what others can take must not wait here."""
        self._listeners = sockets or []
        if not await self._wait_until_open():
            self.should_exit = True
            return
        for each in self._listeners:
            await self._listen_at(each)
        self._serves = True
        _ages[self._worker.age % len(_ages)] = self._worker.age

    def _exposure(self, sockets: list[socket.socket] | None) -> Exposure:  # noqa: ARG002 - not yet
        return super()._exposure(self._listeners)

    async def _wait_until_open(self) -> bool:
        """Returns False if this worker is to leave before everything is open."""
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
        """True once, for the first worker: gunicorn breaks over a second one while it halts."""
        is_first = not _has_halted[0]
        _has_halted[0] = 1
        return is_first

    @property
    def _is_one_more(self) -> bool:
        """Others have served already, so a failure of this one must not have the arbiter halt."""
        return max(_ages) > 0

    async def _pause(self) -> None:
        """The arbiter starts another worker at once, which would fail as fast."""
        logger.error("worker_not_started", again_in_seconds=ANOTHER_START_SECONDS)
        until = time.monotonic() + ANOTHER_START_SECONDS
        while not self._signals and time.monotonic() < until:  # noqa: ASYNC110 - signals announce nothing
            await asyncio.sleep(0.05)

    async def _listen_at(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        backlog = self.config.backlog
        self.servers.append(
            await loop.create_server(self._connection, sock=listener, backlog=backlog)
        )
        close_stalled(listener, self._state["config"].send_timeout_seconds)

    async def _until_succeeded(self) -> None:
        """An arbiter that reloads sends its old workers away before the new ones can serve, which
        may wait for their store for long. Should they fail, so that the arbiter halts, what is
        waited fits into what endings are given.
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
        """Tell the arbiter that the loop turns: from the start to the end, shutdown included."""
        while True:
            self._worker.notify()
            if not self._serves and self._worker.age >= _awaited[0]:
                _starting_at[0] = time.monotonic()
            if not self._has_arbiter and not self._signals:
                logger.error("arbiter_lost")
                self.handle_exit(signal.SIGTERM, None)
            await asyncio.sleep(NOTIFY_SECONDS)


class Worker(base.Worker):
    """What `worker_class` names in gunicorn's configuration."""

    def init_signals(self) -> None:
        """Until the server handles them, signals end a process that has not begun."""
        for number in self.SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        # Reloading is the arbiter's business, whoever else the signal was sent to.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, self.handle_usr1)
        # With SIGABRT the arbiter ends a worker whose loop hangs; this says where.
        faulthandler.enable()

    def run(self) -> None:
        server = WorkerServer(config_of(self.wsgi, backlog=self.cfg.backlog), self)
        signal.signal(signal.SIGQUIT, server.handle_exit)
        # Not gunicorn's wrappers: uvloop would close their descriptors behind their backs.
        server.run(sockets=[cast(Any, listener).sock for listener in self.sockets])


class PlainLogger(Logger):
    """What `logger_class` names: gunicorn's lines go where those of the service go."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True


def await_successors(arbiter: Arbiter) -> None:
    """For gunicorn's `on_reload`, which comes before it forks the new workers."""
    _awaited[0] = arbiter.worker_age + 1


def pass_sigterm_on(arbiter: Arbiter) -> None:
    """For gunicorn's `when_ready`: the workers hear at once that the service is to stop.

    The arbiter itself is deaf while it reloads, and to a second SIGTERM.
    """
    sigterms = 0

    def pass_on(sig: int, frame: FrameType | None) -> None:
        nonlocal sigterms
        if os.getpid() != arbiter.pid:
            # A worker that was forked a moment ago and has not set its own handlers yet.
            raise SystemExit(0)
        sigterms += 1
        for pid in list(arbiter.WORKERS):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT if sigterms == 1 else signal.SIGQUIT)
        arbiter.signal(sig, frame)

    signal.signal(signal.SIGTERM, pass_on)
