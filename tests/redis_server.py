"""A real Redis from Debian's package, on its own port and without persistence."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError

from infrastructure.ports import free_port
from tests.waiting import waiting

PROGRAM = os.environ.get("TEST_REDIS_SERVER")
"""Another program to test with, such as a Valkey."""


class RedisServer:
    """A Redis that can be killed or stopped, and restarts on the same port, empty."""

    def __init__(self, folder: Path, **options: str) -> None:
        self._folder = folder
        self._options = {name.replace("_", "-"): value for name, value in options.items()}
        self._port = free_port()
        self._running: asyncio.subprocess.Process | None = None

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0"

    @property
    def is_running(self) -> bool:
        return self._running is not None

    async def start(self) -> None:
        program = PROGRAM or shutil.which("redis-server", path="/usr/sbin:/usr/bin:/sbin:/bin")
        assert program, "redis-server is missing: make system-deps"
        arguments = self._arguments()
        self._running = await asyncio.create_subprocess_exec(program, *arguments)
        async with waiting(), Redis.from_url(self.url) as client:
            while not await _answers(client):
                await asyncio.sleep(0.01)

    def _arguments(self) -> list[str]:
        return self._directives(save="", appendonly="no", **self._options)

    def _directives(self, **options: str) -> list[str]:
        where = {"port": str(self._port), "bind": "127.0.0.1", "dir": str(self._folder)}
        given = {**where, "logfile": "redis.log", **options}
        return [part for name, value in given.items() for part in (f"--{name}", value)]

    async def kill(self) -> None:
        """Kill it at once, with all connections and data."""
        await self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Make it hang: connections stay open, but nothing is answered."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    async def stop(self) -> None:
        if self._running is not None:
            self.go_on()
            await self._end(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        assert self._running is not None
        self._running.send_signal(number)

    async def _end(self, number: signal.Signals) -> None:
        assert self._running is not None
        self._running.send_signal(number)
        await self._running.wait()
        self._running = None


async def _answers(client: Redis) -> bool:
    try:
        return bool(await client.ping())
    except RedisError:
        return False


@asynccontextmanager
async def running_redis(folder: Path, **options: str) -> AsyncIterator[RedisServer]:
    """Run a Redis. `options` are configuration directives, such as `cluster_enabled="yes"`."""
    server = RedisServer(folder, **options)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
