"""Instances of Lex under gunicorn, and a guest worker whose clock is ahead."""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import aiohttp

from infrastructure.ports import free_port
from loadtests.chaos.postgres import Postgres
from loadtests.chaos.processes import children, python, running, send, started, stop
from loadtests.chaos.waiting import until


class Instance:
    """gunicorn with its workers.

    If gunicorn ends, that is recorded, and it is started again when the database answers. So the
    run can find more problems.
    """

    def __init__(
        self, name: str, workers: int, variables: Mapping[str, str], folder: Path, store: Postgres
    ) -> None:
        self.name = name
        self.halts: list[str] = []
        self._count = workers
        self._port = free_port()
        counted = {"PORT": str(self._port), "WEB_CONCURRENCY": str(workers)}
        self._variables = {**variables, **counted}
        self._log = folder / f"{name}.log"
        self._store = store
        self._arbiter: asyncio.subprocess.Process | None = None
        self._watching: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def workers(self) -> list[int]:
        return [] if self._arbiter is None else children(self._arbiter.pid)

    async def start(self) -> None:
        arbiter = await self._start()
        self._watching = asyncio.create_task(self._watch(arbiter))

    async def _start(self) -> asyncio.subprocess.Process:
        command = python("gunicorn", "-c", "deploy/gunicorn.conf.py")
        self._arbiter = await started(*command, log=self._log, variables=self._variables)
        return self._arbiter

    async def _watch(self, arbiter: asyncio.subprocess.Process) -> None:
        while True:
            code = await arbiter.wait()
            at = time.strftime("%H:%M:%S")
            self.halts.append(f"gunicorn of {self.name} ended with code {code} at {at}")
            await self._store.is_up.wait()
            arbiter = await self._start()

    async def until_ready(self, http: aiohttp.ClientSession) -> None:
        """Wait until all workers run and answer."""

        async def ready() -> bool:
            return len(self.workers) == self._count and await is_ready(http, self.url)

        await until(ready)

    def reload(self) -> None:
        if self._arbiter is not None:
            send(self._arbiter.pid, signal.SIGHUP)

    async def stop(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        if self._arbiter is not None:
            for pid in self.workers:
                send(pid, signal.SIGCONT)
            await stop(self._arbiter)


async def is_ready(http: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with http.get(f"{url}/readyz", timeout=aiohttp.ClientTimeout(total=5)) as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


@asynccontextmanager
async def guest(
    http: aiohttp.ClientSession, variables: Mapping[str, str], folder: Path, *, days_ahead: int
) -> AsyncIterator[str]:
    """Start one more worker, whose date is so many days ahead. Its clock runs at normal speed."""
    ahead = {
        "LD_PRELOAD": _libfaketime(),
        "FAKETIME": f"+{days_ahead}d",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }
    port = free_port()
    command = python("backend.server", "--port", str(port))
    log = folder / "guest.log"
    async with running(*command, log=log, variables={**variables, **ahead}):
        url = f"http://127.0.0.1:{port}"
        await until(partial(is_ready, http, url))
        yield url


def _libfaketime() -> str:
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        sys.exit("libfaketime is missing: make system-deps")
    return str(found[0])
