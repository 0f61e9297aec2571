"""The servers of a run: the stores, the stand-in for Groq, and two instances of Lex."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from infrastructure.ports import free_port
from loadtests.chaos.found import Levels
from loadtests.chaos.instances import Instance
from loadtests.chaos.pgbouncer import PgBouncer, pgbouncer
from loadtests.chaos.postgres import Postgres, postgres
from loadtests.chaos.processes import levels, python, running, until_it_listens
from loadtests.chaos.redis import Cluster, Redis, redis, redis_cluster

LEASE_SECONDS = 3
TURN_SECONDS = 40
RETENTION_DAYS = 30

_SETTINGS = {
    "GROQ_API_KEY": "none",
    "AUTH": "none",
    "LOG_FORMAT": "json",
    "RATE_LIMIT_SESSION": "none",
    "RATE_LIMIT_CLIENT": "none",
    "RATE_LIMIT_SESSIONS": "none",
    "MAX_STREAMS_PER_CLIENT": "100000",
    "MAX_SOCKETS_PER_CLIENT": "100000",
    "MAX_READERS_PER_CLIENT": "100000",
    "SUMMARY_IDLE_SECONDS": "0",
    "SESSION_RETENTION_DAYS": str(RETENTION_DAYS),
    # Short time-outs, so that minutes of chaos reach them.
    "LEASE_SECONDS": str(LEASE_SECONDS),
    "HEARTBEAT_SECONDS": "1",
    "DISCONNECT_GRACE_SECONDS": "5",
    "TURN_TIMEOUT_SECONDS": str(TURN_SECONDS),
    "DRAIN_SECONDS": "10",
    "DRAIN_ACCEPT_SECONDS": "1",
}


@dataclass
class Stage:
    http: aiohttp.ClientSession
    folder: Path
    """The folder of all logs."""
    postgres: Postgres
    pooler: PgBouncer | None
    redis: Redis | Cluster
    upstream: str
    variables: dict[str, str]
    instances: list[Instance] = field(default_factory=list)
    guests: list[str] = field(default_factory=list)
    """Addresses of temporary workers."""

    @property
    def urls(self) -> list[str]:
        return [*(instance.url for instance in self.instances), *self.guests]

    @property
    def workers(self) -> list[int]:
        return [pid for instance in self.instances for pid in instance.workers]

    @property
    def halts(self) -> list[str]:
        return [halt for instance in self.instances for halt in instance.halts]

    @property
    def levels(self) -> Levels:
        return levels(self.workers)

    async def until_ready(self) -> None:
        for instance in self.instances:
            await instance.until_ready(self.http)

    async def push_script(self, script: dict[str, Any]) -> None:
        async with self.http.post(f"{self.upstream}/_standin/script", json=script) as answer:
            answer.raise_for_status()

    async def forget_scripts(self) -> None:
        async with self.http.delete(f"{self.upstream}/_standin/script") as answer:
            answer.raise_for_status()

    async def open_upstream(self) -> int:
        async with self.http.get(f"{self.upstream}/_standin/stats") as answer:
            return int((await answer.json())["open_streams"])


@asynccontextmanager
async def set_up(
    folder: Path, *, has_pooler: bool = False, has_cluster: bool = False
) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(client())
        store = await stack.enter_async_context(postgres(folder))
        pooler = None
        if has_pooler:
            pooler = await stack.enter_async_context(pgbouncer(folder, socket=store.socket))
        shared: Redis | Cluster
        if has_cluster:
            shared = await stack.enter_async_context(redis_cluster(folder))
        else:
            shared = await stack.enter_async_context(redis(folder))
        port = free_port()
        standin = python("infrastructure.groq_standin", "--port", str(port))
        await stack.enter_async_context(running(*standin, log=folder / "standin.log"))
        await until_it_listens(port)
        upstream = f"http://127.0.0.1:{port}"
        addresses = {
            "GROQ_BASE_URL": upstream,
            "DATABASE_URL": pooler.url("postgres") if pooler else store.url,
            "REDIS_URL": shared.url,
        }
        variables = {**_SETTINGS, **addresses}
        stage = Stage(http, folder, store, pooler, shared, upstream, variables)
        # Two workers that share an address, and one as on another machine.
        for name, workers in (("a", 2), ("b", 1)):
            instance = Instance(name, workers, variables, folder, store)
            stack.push_async_callback(instance.stop)
            await instance.start()
            await instance.until_ready(http)
            stage.instances.append(instance)
        yield stage


def client() -> aiohttp.ClientSession:
    """A client that keeps no connection, so that each request reaches a random worker."""
    connector = aiohttp.TCPConnector(limit=500, force_close=True)
    timeout = aiohttp.ClientTimeout(total=30)
    return aiohttp.ClientSession(connector=connector, timeout=timeout)
