"""A cluster whose slots move to another master while Lex uses it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from zlib import crc32

import pytest
from redis.crc import key_slot

from backend.api.rate_limits.redis_pipeline import RedisPipeline, Script, open_connection
from backend.domain.errors import StorageError
from backend.storage.ports.shared_logs import SharedBatch
from backend.storage.redis.errors import CLUSTER_MOVES
from backend.storage.redis.logs import STREAM_TAGS, RedisLogs
from tests.redis_cluster import RedisCluster, ask
from tests.redis_server import RedisServer
from tests.system.test_shared_logs import batches
from tests.waiting import waiting

SLOT = key_slot(STREAM_TAGS[0].encode())

INCREMENT = Script("return redis.call('INCR', KEYS[1])", [f"lex:n:{{{STREAM_TAGS[0]}}}"], [])


@pytest.fixture
async def cluster(steady_cluster: RedisCluster) -> RedisCluster:
    await steady_cluster.forget()
    return steady_cluster


class Move:
    """Moves the slot from its master to another one, in the steps that Redis prescribes."""

    def __init__(self, cluster: RedisCluster) -> None:
        self._cluster = cluster
        self._source, self._target = cluster.nodes[0], cluster.nodes[1]

    def back(self) -> "Move":
        move = Move(self._cluster)
        move._source, move._target = self._target, self._source
        return move

    async def begin(self) -> None:
        source, target = await name_of(self._source), await name_of(self._target)
        await ask(self._target, "CLUSTER", "SETSLOT", SLOT, "IMPORTING", source)
        await ask(self._source, "CLUSTER", "SETSLOT", SLOT, "MIGRATING", target)

    async def move_keys(self, most: int = 1000) -> None:
        for key in await ask(self._source, "CLUSTER", "GETKEYSINSLOT", SLOT, most):
            await ask(self._source, "MIGRATE", "127.0.0.1", self._target.port, key, 0, 5000)

    async def end(self) -> None:
        target = await name_of(self._target)
        for node in (self._target, *self._cluster.nodes[:3]):
            await ask(node, "CLUSTER", "SETSLOT", SLOT, "NODE", target)


async def name_of(node: RedisServer) -> str:
    return str((await ask(node, "CLUSTER", "MYID")).decode())


@asynccontextmanager
async def pipeline_to(cluster: RedisCluster, changes: list[bool]) -> AsyncIterator[RedisPipeline]:
    client = open_connection(cluster.url)
    pipeline = RedisPipeline(client, on_change=changes.append)
    await pipeline.open()
    try:
        yield pipeline
    finally:
        await pipeline.close()
        await client.aclose()


def turns_of_the_slot() -> list[str]:
    """Ids of turns whose streams are in the slot that moves."""
    return [turn for turn in map(str, range(100)) if crc32(turn.encode()) % len(STREAM_TAGS) == 0]


async def test_commands_follow_a_slot_that_moves(cluster: RedisCluster) -> None:
    one, other, *_ = turns_of_the_slot()
    before, meanwhile = SharedBatch(one, 0, 1, b"a"), SharedBatch(other, 0, 1, b"b")
    later = SharedBatch(one, 1, 2, b"c")
    logs, changes = RedisLogs(cluster.url, kept_seconds=60), list[bool]()
    move = Move(cluster)
    async with pipeline_to(cluster, changes) as pipeline:
        counts = [await pipeline.call(INCREMENT)]
        await logs.write([before])
        await move.begin()
        # One stream is still there, the other one is begun on the new master.
        await logs.write([meanwhile])
        with pytest.raises(StorageError, match=CLUSTER_MOVES):
            await batches(logs, {one: 0, other: 0})
        await move.move_keys()
        counts.append(await pipeline.call(INCREMENT))
        await move.end()
        counts.append(await pipeline.call(INCREMENT))
        await logs.write([later])
        read: list[SharedBatch] = []
        async with waiting():
            while len(read) < 3:
                read = await batches(logs, {one: 0, other: 0})
        back = move.back()
        await back.begin()
        await back.move_keys()
        await back.end()
        counts.append(await pipeline.call(INCREMENT))
    await logs.close()

    assert sorted(read, key=str) == sorted([before, later, meanwhile], key=str)
    assert counts == [1, 2, 3, 4]
    assert changes == [True], "limits are shared all the time"


async def test_a_read_that_waits_follows_a_planned_failover(cluster: RedisCluster) -> None:
    one, *_ = turns_of_the_slot()
    batch = SharedBatch(one, 0, 1, b"a")
    logs = RedisLogs(cluster.url, kept_seconds=60)
    master, replica = cluster.nodes[0], cluster.nodes[3]
    reading = asyncio.create_task(read_whatever_happens(logs, one))
    await asyncio.sleep(0.1)  # until it waits in Redis
    await promote(replica, cluster)
    begun = time.monotonic()
    await write_whatever_happens(logs, batch)
    read = await reading
    took = time.monotonic() - begun
    await promote(master, cluster)
    await logs.close()

    assert read == [batch]
    assert took < 5


async def promote(replica: RedisServer, cluster: RedisCluster) -> None:
    await ask(replica, "CLUSTER", "FAILOVER")
    async with waiting():
        while (await ask(replica, "ROLE"))[0] != b"master":
            await asyncio.sleep(0.02)
    await cluster.until_whole()


async def read_whatever_happens(logs: RedisLogs, turn: str) -> list[SharedBatch]:
    """Try again after a failure, as the shared logs do."""
    async with waiting():
        while True:
            try:
                return await batches(logs, {turn: 0})
            except StorageError:
                await asyncio.sleep(0.02)


async def write_whatever_happens(logs: RedisLogs, batch: SharedBatch) -> None:
    async with waiting():
        while True:
            try:
                return await logs.write([batch])
            except StorageError:
                await asyncio.sleep(0.02)
