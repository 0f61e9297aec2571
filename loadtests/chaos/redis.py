"""A separate Redis from Debian's package, without persistence, or a cluster of six."""

import asyncio
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from infrastructure.ports import free_port
from loadtests.chaos.processes import started, stop, until_it_listens
from tests.redis_cluster import RedisCluster, running_cluster
from tests.redis_server import RedisServer


class Redis:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0"

    async def start(self) -> None:
        program = shutil.which("redis-server", path="/usr/bin:/usr/sbin:/usr/local/bin")
        if program is None:
            sys.exit("redis-server is missing: make system-deps")
        options = ("--port", str(self._port), "--bind", "127.0.0.1", "--save", "")
        command = (program, *options, "--dir", str(self._folder))
        self._process = await started(*command, log=self._folder / "redis.log")
        await until_it_listens(self._port)

    async def kill(self) -> None:
        if self._process is not None:
            await stop(self._process, signal.SIGKILL)
            self._process = None


@asynccontextmanager
async def redis(folder: Path) -> AsyncIterator[Redis]:
    server = Redis(folder)
    await server.start()
    try:
        yield server
    finally:
        await server.kill()


class Cluster:
    """The same for a cluster: one of its masters is killed, and comes back as a replica."""

    def __init__(self, nodes: RedisCluster) -> None:
        self._nodes = nodes
        self._killed: RedisServer | None = None

    @property
    def url(self) -> str:
        return self._nodes.url

    async def start(self) -> None:
        if self._killed is not None:
            await self._killed.start()
            await self._nodes.until_whole()

    async def kill(self) -> None:
        self._killed = await self._nodes.master()
        await self._killed.kill()


@asynccontextmanager
async def redis_cluster(folder: Path) -> AsyncIterator[Cluster]:
    async with running_cluster(folder) as nodes:
        yield Cluster(nodes)
