"""The server under gunicorn: a worker, its lines in the log, and what the arbiter passes on to it.

`deploy/gunicorn.conf.py` names them.
"""

import asyncio
import faulthandler
import mmap
import os
import signal
import socket
from contextlib import suppress
from types import FrameType
from typing import Any, cast

import structlog
import uvicorn
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger
from gunicorn.workers import base

from backend.server import Server, config_of

logger = structlog.get_logger()

NOTIFY_SECONDS = 1

SUCCESSION_SECONDS = 30
"""In which a worker has begun to serve, or the arbiter has given it up."""

_ages = memoryview(mmap.mmap(-1, 8 * 256)).cast("Q")
"""How old those are that have begun to serve, in gunicorn's count of workers. It is the arbiter's
memory, shared with all whom it forks; workers that begin at the same time have a place each."""

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

    @property
    def _is_hurried(self) -> bool:
        return signal.SIGQUIT in self._signals

    @property
    def _is_replaced(self) -> bool:
        return signal.SIGINT not in self._signals

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        _ages[self._worker.age % len(_ages)] = self._worker.age

    async def _until_succeeded(self) -> None:
        """An arbiter that reloads sends its old workers away before the new ones can serve. Should
        these fail to start, so that it halts, what is waited fits into what endings are given.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(SUCCESSION_SECONDS):
                # Another process says so.
                while self._is_to_be_succeeded:  # noqa: ASYNC110
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
    told = 0

    def pass_on(sig: int, frame: FrameType | None) -> None:
        nonlocal told
        if os.getpid() != arbiter.pid:
            # A worker that was forked a moment ago and has not set its own handlers yet.
            raise SystemExit(0)
        told += 1
        for pid in list(arbiter.WORKERS):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT if told == 1 else signal.SIGQUIT)
        arbiter.signal(sig, frame)

    signal.signal(signal.SIGTERM, pass_on)
