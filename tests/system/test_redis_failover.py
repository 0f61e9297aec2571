"""A master of Redis dies or hangs under many streams that are followed on another worker."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import httpx
import pytest

from tests.redis_cluster import RedisCluster, Sentinels, running_cluster, running_sentinels
from tests.system.test_shared_logs import asked, two_workers, without_heartbeats
from tests.waiting import waiting

STREAMS = 200

Kind = Literal["cluster", "sentinels"]


@asynccontextmanager
async def running(kind: Kind, folder: Path) -> AsyncIterator[RedisCluster | Sentinels]:
    if kind == "cluster":
        async with running_cluster(folder) as cluster:
            yield cluster
    else:
        async with running_sentinels(folder) as sentinels:
            yield sentinels


@pytest.mark.parametrize("kind", ["cluster", "sentinels"])
async def test_a_failover_under_200_streams_loses_and_repeats_nothing(
    kind: Kind, tmp_path: Path
) -> None:
    async with (
        running(kind, tmp_path) as redis,
        two_workers(redis, tmp_path) as (standin, one, other),
    ):
        await until_redis_is("up", one, other)
        standin.script({"tokens": 100_000, "tokens_per_second": 4}, times=None)
        turns = await asyncio.gather(*(asked(one, f"s{number}") for number in range(STREAMS)))
        followers = [Follower(other, turn_id) for turn_id, _ in turns]
        reading = [asyncio.create_task(follower.read()) for follower in followers]
        await all_have_more(followers)

        master = await redis.master()
        if kind == "cluster":
            await master.kill()
        else:
            master.pause()
        # A query is answered meanwhile, by limits that each worker counts alone.
        await asked(one, "meanwhile")
        await until_redis_is("down", one, other)
        await until_redis_is("up", one, other)
        await all_have_more(followers)
        paths = [f"/turns/{turn_id}" for turn_id, _ in turns]
        await asyncio.gather(*map(one.delete, paths))
        await asyncio.gather(*reading)
        uncut = [(await one.get(f"{path}/events")).text for path in paths]

    assert [without_heartbeats(follower.received) for follower in followers] == uncut


async def all_have_more(followers: Sequence["Follower"]) -> None:
    """Wait until each follower has received something more, while all turns go on."""
    before = [len(follower.received) for follower in followers]
    async with waiting():
        while any(len(each.received) <= n for each, n in zip(followers, before, strict=True)):
            await asyncio.sleep(0.02)


class Follower:
    def __init__(self, worker: httpx.AsyncClient, turn_id: str) -> None:
        self._worker = worker
        self._turn_id = turn_id
        self.received = ""

    async def read(self) -> None:
        async with self._worker.stream("GET", f"/turns/{self._turn_id}/events") as stream:
            async for text in stream.aiter_text():
                self.received += text


async def until_redis_is(state: str, *workers: httpx.AsyncClient) -> None:
    async with waiting():
        for worker in workers:
            while (await worker.get("/readyz")).json()["redis"] != state:
                await asyncio.sleep(0.02)
