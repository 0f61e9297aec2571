"""A real Redis Cluster and a real Sentinel, of local servers on free ports."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from infrastructure.ports import free_port
from tests.redis_server import RedisServer
from tests.waiting import waiting

MASTERS = 3
SLOTS = 16_384

NODE_TIMEOUT_MS = 1000
"""After so long without an answer, a master counts as failed."""


class RedisCluster:
    """Three masters, each with a replica."""

    def __init__(self, nodes: list[RedisServer]) -> None:
        self.nodes = nodes

    @property
    def url(self) -> str:
        hosts = ",".join(
            node.url.removeprefix("redis://").removesuffix("/0") for node in self.nodes
        )
        return f"redis+cluster://{hosts}"

    async def until_whole(self) -> None:
        """Wait until every running node serves all slots, and each master has a replica."""
        async with waiting():
            for node in self.nodes:
                while node.is_running and not await self._is_whole(node):
                    await asyncio.sleep(0.02)

    async def forget(self) -> None:
        """Delete all keys."""
        for node in self.nodes[:MASTERS]:
            await ask(node, "FLUSHALL")

    async def master(self) -> RedisServer:
        """One of the masters that run."""
        for node in self.nodes:
            if node.is_running and (await ask(node, "ROLE"))[0] == b"master":
                return node
        raise AssertionError

    async def _is_whole(self, node: RedisServer) -> bool:
        told = (await ask(node, "CLUSTER", "INFO")).decode()
        running = sum(each.is_running for each in self.nodes)
        ranges = await ask(node, "CLUSTER", "SLOTS")
        linked = sum(len(each) - 2 for each in ranges if each[2:])
        return "cluster_state:ok" in told and linked == running


async def ask(server: RedisServer, *command: Any, password: str | None = None) -> Any:
    async with Redis(host="127.0.0.1", port=server.port, password=password) as client:
        return await client.execute_command(*command)  # type: ignore[no-untyped-call] # theirs


@asynccontextmanager
async def running_cluster(folder: Path) -> AsyncIterator[RedisCluster]:
    async with AsyncExitStack() as stack:
        nodes = []
        # By default the bus uses a port 10,000 higher, which may not exist.
        buses = [free_port() for _ in range(2 * MASTERS)]
        for number, bus in enumerate(buses):
            home = folder / f"node-{number}"
            home.mkdir()
            nodes.append(
                RedisServer(
                    home,
                    cluster_enabled="yes",
                    cluster_port=str(bus),
                    cluster_node_timeout=str(NODE_TIMEOUT_MS),
                    cluster_replica_validity_factor="0",
                    repl_diskless_sync_delay="0",
                    repl_ping_replica_period="1",
                )
            )
        for number, node in enumerate(nodes):
            known = _nodes_file([each.port for each in nodes], buses, myself=number)
            (folder / f"node-{number}" / "nodes.conf").write_text(known)
            await node.start()
            stack.push_async_callback(node.stop)
        cluster = RedisCluster(nodes)
        await cluster.until_whole()
        yield cluster


def _nodes_file(ports: list[int], buses: list[int], *, myself: int) -> str:
    """The stored state of a node in a running cluster. Making nodes meet would take ten seconds."""
    lines = []
    for number, (port, bus) in enumerate(zip(ports, buses, strict=True)):
        part = number % MASTERS
        first, last = (SLOTS * n // MASTERS for n in (part, part + 1))
        is_master = number < MASTERS
        flags = ("myself," if number == myself else "") + ("master" if is_master else "slave")
        master, slots = ("-", f" {first}-{last - 1}") if is_master else (_name(part), "")
        address = f"127.0.0.1:{port}@{bus}"
        lines.append(f"{_name(number)} {address} {flags} {master} 0 0 {part + 1} connected{slots}")
    return "\n".join([*lines, f"vars currentEpoch {MASTERS} lastVoteEpoch 0", ""])


def _name(number: int) -> str:
    return f"{number:040x}"


class _Sentinel(RedisServer):
    """The same program. It keeps its state in a file of its own, which must exist."""

    def _arguments(self) -> list[str]:
        state = self._folder / "sentinel.conf"
        state.touch()
        return [str(state), *self._directives(), "--sentinel"]


class Sentinels:
    """A master, a replica, and three Sentinels that watch them."""

    def __init__(self, servers: list[RedisServer], sentinels: list[RedisServer]) -> None:
        self.servers = servers
        self.sentinels = sentinels

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{each.port}" for each in self.sentinels)
        return f"redis+sentinel://{hosts}/{MASTER}"

    async def master(self) -> RedisServer:
        _, port = await ask(self.sentinels[0], "SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)
        return next(each for each in self.servers if each.port == int(port))

    async def forget(self) -> None:
        """Delete all keys."""
        await ask(await self.master(), "FLUSHALL")

    async def until_ready(self) -> None:
        """Wait until all Sentinels know each other and the replica, and could elect it."""
        async with waiting():
            for sentinel in self.sentinels:
                while not await self._is_ready(sentinel):
                    await asyncio.sleep(0.02)

    async def _is_ready(self, sentinel: RedisServer) -> bool:
        (state,) = await ask(sentinel, "SENTINEL", "MASTERS")
        replicas = await ask(sentinel, "SENTINEL", "REPLICAS", MASTER)
        is_linked = any(each[b"master-link-status"] == b"ok" for each in replicas)
        return is_linked and int(state[b"num-other-sentinels"]) == len(self.sentinels) - 1


AnyRedis = RedisServer | RedisCluster | Sentinels

MASTER = "mymaster"

DOWN_AFTER_MS = 1000
"""After so long without an answer, a master counts as down."""


@asynccontextmanager
async def running_sentinels(folder: Path) -> AsyncIterator[Sentinels]:
    async with AsyncExitStack() as stack:

        async def started(server: RedisServer) -> RedisServer:
            await server.start()
            stack.push_async_callback(server.stop)
            return server

        def home(name: str) -> Path:
            (folder / name).mkdir()
            return folder / name

        quick = {"repl_diskless_sync_delay": "0", "repl_ping_replica_period": "1"}
        master = await started(RedisServer(home("master"), **quick))
        its = f"127.0.0.1 {master.port}"
        replica = await started(RedisServer(home("replica"), replicaof=its, **quick))
        sentinels = [await started(_Sentinel(home(f"sentinel-{n}"))) for n in range(3)]
        for each in sentinels:
            await ask(each, "SENTINEL", "MONITOR", MASTER, "127.0.0.1", master.port, 2)
            for option, value in (
                ("down-after-milliseconds", DOWN_AFTER_MS),
                ("failover-timeout", 5000),
            ):
                await ask(each, "SENTINEL", "SET", MASTER, option, value)
        watched = Sentinels([master, replica], sentinels)
        await watched.until_ready()
        yield watched
