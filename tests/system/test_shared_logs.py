"""Streams across workers through a real Redis that is killed, stalled and restarted."""

import asyncio
import itertools
import random
import re
import statistics
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import msgspec
import pytest
from redis.asyncio import Redis

from backend.domain.errors import StorageError
from backend.domain.events import decode
from backend.storage.ports.shared_logs import SharedBatch
from backend.storage.redis.logs import RedisLogs
from infrastructure.groq_standin import Standin
from tests.processes import lex_process
from tests.redis_cluster import AnyRedis
from tests.redis_server import RedisServer
from tests.serving import ids_of, is_over, without_ids
from tests.waiting import waiting, within_limit

WORDS = "It is mild in Paris.\n\n- and\n- so\n- on " * 8


@pytest.fixture
async def logs(any_redis: AnyRedis) -> AsyncIterator[RedisLogs]:
    opened = RedisLogs(any_redis.url, kept_seconds=60)
    yield opened
    await opened.close()


@pytest.fixture
async def logs_of_server(redis: RedisServer) -> AsyncIterator[RedisLogs]:
    opened = RedisLogs(redis.url, kept_seconds=60)
    yield opened
    await opened.close()


async def test_what_is_written_is_read_from_behind_a_position(logs: RedisLogs) -> None:
    first, second = SharedBatch("t1", 0, 3, b"abc"), SharedBatch("t1", 3, 5, b"de")
    await logs.write([first, second, SharedBatch("t2", 0, 1, b"x")])

    read = [await batches(logs, {"t1": after}) for after in (0, 2, 3)]

    assert read == [[first, second], [first, second], [second]]


async def test_turns_of_all_slots_are_read_together(logs: RedisLogs) -> None:
    written = [SharedBatch(f"t{number}", 0, 3, b"abc") for number in range(50)]
    await logs.write(written)
    wanted, read = {batch.turn_id: 0 for batch in written}, []
    async with waiting():
        while wanted:
            for batch in await batches(logs, wanted):
                read.append(batch)
                del wanted[batch.turn_id]

    assert sorted(read, key=str) == sorted(written, key=str)


async def test_a_turn_that_is_followed_later_ends_the_reads_that_wait(logs: RedisLogs) -> None:
    """In all slots, and also if another reader of the turn has read more."""
    begun = time.monotonic()
    for number in range(20):
        turn, later = f"t{number}", SharedBatch(f"t{number}", 3, 5, b"de")
        waiting_read = asyncio.create_task(logs.read("w1", {turn: 3, "other": 0}))
        await asyncio.sleep(0.01)
        await logs.write([SharedBatch(turn, 0, 3, b"abc")], nudged=["w1"])
        await waiting_read
        assert [each.last for each in await batches(logs, {turn: 0, "other": 0})] == [3]
        await logs.write([later])
        assert await batches(logs, {turn: 3}) == [later]

    assert time.monotonic() - begun < 20, "each read that waits lasts a second"


async def batches(logs: RedisLogs, after: Mapping[str, int]) -> list[SharedBatch]:
    """Read until there are some."""
    async with waiting():
        while not (found := (await logs.read("w1", after)).batches):
            pass
    return list(found)


async def test_what_is_written_twice_is_there_once(logs: RedisLogs) -> None:
    batch = SharedBatch("t1", 0, 3, b"abc")
    for _ in range(3):
        await logs.write([batch])

    assert await batches(logs, {"t1": 0}) == [batch]


async def test_an_entry_of_another_version_hides_no_others(
    redis: RedisServer, logs_of_server: RedisLogs
) -> None:
    logs = logs_of_server
    async with Redis.from_url(redis.url) as client:
        await client.xadd("lex:turn:t1", {"said": "x"}, id="3-0")
    batch = SharedBatch("t2", 0, 3, b"abc")
    await logs.write([batch])

    foreign, read = (await logs.read("w1", {"t1": 0, "t2": 0})).batches

    assert read == batch
    with pytest.raises(msgspec.MsgspecError):
        decode(foreign.events)


async def test_a_nudge_ends_the_wait_of_its_worker_and_is_heard_once(logs: RedisLogs) -> None:
    reading = asyncio.create_task(logs.read("w1", {"t1": 0}))
    await asyncio.sleep(0.1)
    before = time.monotonic()
    await logs.write([], nudged=["w1", "w2"])

    received = await reading

    assert (received.is_nudged, list(received.batches)) == (True, [])
    assert time.monotonic() - before < 0.5
    assert not (await logs.read("w1", {})).is_nudged


async def test_a_redis_that_hangs_or_is_gone_is_a_failed_one(
    redis: RedisServer, logs_of_server: RedisLogs
) -> None:
    logs = logs_of_server
    batch = SharedBatch("t1", 0, 3, b"abc")
    await logs.write([batch])

    redis.pause()
    for call in (logs.write([batch]), logs.read("w1", {})):
        with pytest.raises(StorageError):
            await within_limit(call)
    redis.go_on()
    await logs.write([batch])
    await redis.kill()
    with pytest.raises(StorageError):
        await logs.write([batch])
    await redis.start()
    await logs.write([batch])

    assert (await logs.read("w1", {"t1": 0})).batches == [batch]


AT_ONCE = {"CHUNK_FLUSH_MS": "0"}
"""No pause between chunks: it grows with the load of the machine, and would add to the gaps."""


@asynccontextmanager
async def two_workers(
    redis: AnyRedis, folder: Path
) -> AsyncIterator[tuple[Standin, httpx.AsyncClient, httpx.AsyncClient]]:
    async with Standin.serve() as standin:
        variables = {
            "GROQ_BASE_URL": standin.url,
            "DATABASE_URL": f"sqlite:///{folder}/lex.db",
            "REDIS_URL": redis.url,
            "RATE_LIMIT_SESSION": "none",
            "RATE_LIMIT_CLIENT": "none",
            "MAX_STREAMS_PER_CLIENT": "1000",
            **AT_ONCE,
        }
        async with lex_process(**variables) as one, lex_process(**variables) as other:
            yield standin, one, other


@asynccontextmanager
async def alone(standin: Standin) -> AsyncIterator[httpx.AsyncClient]:
    """A service without Redis, with the same upstream."""
    variables = {"GROQ_BASE_URL": standin.url, "DATABASE_URL": "memory://", **AT_ONCE}
    async with lex_process(**variables) as service:
        yield service


async def asked(client: httpx.AsyncClient, session_id: str) -> tuple[str, str]:
    body = {"query": "Weather?", "session_id": session_id, "resume": True}
    async with client.stream("POST", "/query", json=body) as stream:
        return stream.headers["x-turn-id"], await anext(stream.aiter_text())


async def read_in_pieces(
    workers: tuple[httpx.AsyncClient, ...], session_id: str, chance: random.Random
) -> tuple[str, str, int]:
    """Read a stream that is cut at random bytes, and resume it on another worker each time."""
    turn_id, received = await asked(workers[0], session_id)
    whole = _complete(received)
    for cuts, worker in enumerate(itertools.cycle(workers[::-1]), start=1):
        headers = {"Last-Event-ID": ids_of(whole)[-1]}
        size, received = chance.randint(40, 400), ""
        async with worker.stream("GET", f"/turns/{turn_id}/events", headers=headers) as stream:
            async for text in stream.aiter_text():
                received += text
                if len(received) > size:
                    break
        received = without_heartbeats(_complete(received[:size]))
        whole += received.partition("\n\n")[2]
        if is_over(whole):
            return turn_id, whole, cuts
    raise AssertionError


def without_heartbeats(stream: str) -> str:
    return re.sub(r"^: \n\n", "", stream, flags=re.MULTILINE)


def _complete(received: str) -> str:
    return received[: received.rfind("\n\n") + 2]


async def test_a_hundred_cuts_between_two_workers_lose_and_repeat_nothing(
    redis: RedisServer, tmp_path: Path
) -> None:
    chance = random.Random(11)  # noqa: S311 - not for security
    async with two_workers(redis, tmp_path) as (standin, one, other):
        standin.script(
            {"calls": [{"name": "get_weather", "arguments": {"city": "Paris"}}]},
            {"text": WORDS, "tokens_per_second": 40},
            times=None,
        )
        read = await asyncio.gather(
            *(read_in_pieces((one, other), f"s{number}", chance) for number in range(10))
        )
        uncut = [(await one.get(f"/turns/{turn_id}/events")).text for turn_id, _, _ in read]
        requests = standin.stats.requests

    assert [whole for _, whole, _ in read] == uncut
    assert sum(cuts for _, _, cuts in read) > 100
    assert requests == 20, "nothing was asked twice"


async def test_a_reader_on_another_worker_hears_every_word_when_it_is_said(
    redis: RedisServer, tmp_path: Path
) -> None:
    async with two_workers(redis, tmp_path) as (standin, one, other):
        standin.script({"tokens": 60, "tokens_per_second": 20})
        turn_id, _ = await asked(one, "s1")
        times = []
        async with other.stream("GET", f"/turns/{turn_id}/events") as stream:
            async for _ in stream.aiter_text():
                times.append(time.monotonic())

    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert len(times) > 30
    assert statistics.median(gaps) < 0.2


async def test_a_stop_on_another_worker_is_heard_at_once(
    redis: RedisServer, tmp_path: Path
) -> None:
    async with two_workers(redis, tmp_path) as (standin, one, other):
        standin.script({"tokens": 10_000, "tokens_per_second": 20})
        body = {"query": "Go on", "session_id": "s1", "resume": True}
        async with one.stream("POST", "/query", json=body) as stream:
            texts = stream.aiter_text()
            await anext(texts)
            before = time.monotonic()
            await other.delete(f"/turns/{stream.headers['x-turn-id']}")
            rest = "".join([text async for text in texts])
            took = time.monotonic() - before

    assert is_over(rest)
    assert took < 2, "a renewal alone comes every 5 seconds"


@dataclass
class Paced:
    """A stream, with the arrival times of its pieces."""

    turn_id: str = ""
    received: str = ""
    times: list[float] = field(default_factory=list)

    async def read(self, client: httpx.AsyncClient, session_id: str) -> None:
        body = {"query": "Count", "session_id": session_id, "resume": True}
        async with client.stream("POST", "/query", json=body) as stream:
            self.turn_id = stream.headers["x-turn-id"]
            async for text in stream.aiter_text():
                self.times.append(time.monotonic())
                self.received += text

    def gaps(self, begun: float, ended: float) -> list[float]:
        """The gaps between pieces that arrived within this time."""
        times = [at for at in self.times if begun < at < ended]
        return [later - at for at, later in itertools.pairwise(times)]


@pytest.mark.parametrize("fault", ["killed", "stalled", "restarted"])
async def test_a_hundred_streams_keep_their_pace_whatever_becomes_of_redis(
    redis: RedisServer, tmp_path: Path, fault: str
) -> None:
    """Compare the longest gaps during the fault with those of a service without Redis.

    Both are measured in the same seconds, so other programs on the machine delay both. The streams
    are endless, so that all run during the fault: a hundred that start or end at once would add
    gaps.
    """
    async with two_workers(redis, tmp_path) as (standin, one, other), alone(standin) as control:
        standin.script({"tokens": 100_000, "tokens_per_second": 15}, times=None)
        streams, controls = [Paced() for _ in range(100)], [Paced() for _ in range(100)]
        reading = [
            asyncio.create_task(each.read(service, f"s{number}"))
            for service, read in ((one, streams), (control, controls))
            for number, each in enumerate(read)
        ]
        await standin.stats.until(lambda stats: stats.open_streams == 200)
        await asyncio.sleep(1)  # until the gaps of a hundred starts are over
        broken_at = time.monotonic()
        if fault == "stalled":
            redis.pause()
        else:
            await redis.kill()
        if fault == "restarted":
            await redis.start()
        await asyncio.sleep(6)  # the measured time
        judged_at = time.monotonic()
        assert standin.stats.open_streams == 200
        for service, read in ((one, streams), (control, controls)):
            for each in read:
                await service.delete(f"/turns/{each.turn_id}")
        await asyncio.gather(*reading)
        if fault == "stalled":
            redis.go_on()
        replayed = (await other.get(f"/turns/{streams[0].turn_id}/events")).text

    faulty, quiet = (
        [gap for each in read for gap in each.gaps(broken_at, judged_at)]
        for read in (streams, controls)
    )
    assert min(len(faulty), len(quiet)) > len(streams)
    longest = percentile(faulty, 99), percentile(quiet, 99)
    assert longest[0] < 1.5 * longest[1] + 0.05, longest
    texts = [without_ids(each.received) for each in streams]
    assert all(text.endswith("event: end\ndata: \n\n") for text in texts)
    assert without_ids(replayed) == without_heartbeats(texts[0])


def percentile(values: list[float], share: int) -> float:
    return statistics.quantiles(values, n=100)[share - 1]


async def test_readiness_and_metrics_say_whether_redis_answers(
    redis: RedisServer, tmp_path: Path
) -> None:
    async def told() -> tuple[str, bool]:
        metrics = (await one.get("/metrics")).text
        return (await one.get("/readyz")).json()["redis"], "lex_redis_up 1.0" in metrics

    async with two_workers(redis, tmp_path) as (_, one, _):
        for change, expected in (
            (None, ("up", True)),
            (redis.kill, ("down", False)),
            (redis.start, ("up", True)),
        ):
            if change is not None:
                await change()
            async with waiting():
                while (heard := await told()) != expected:
                    await asyncio.sleep(0.05)
            assert heard == expected


@pytest.mark.parametrize("fault", ["killed", "stalled", "restarted"])
async def test_readers_on_another_worker_lose_nothing_whatever_becomes_of_redis(
    redis: RedisServer, tmp_path: Path, fault: str
) -> None:
    async with two_workers(redis, tmp_path) as (standin, one, other):
        standin.script({"tokens": 100, "tokens_per_second": 20}, times=None)
        turns = [await asked(one, f"s{number}") for number in range(10)]
        reading = [
            asyncio.create_task(other.get(f"/turns/{turn_id}/events")) for turn_id, _ in turns
        ]
        await asyncio.sleep(1)
        if fault == "stalled":
            redis.pause()
        else:
            await redis.kill()
        await asyncio.sleep(1)
        if fault == "stalled":
            redis.go_on()
        if fault == "restarted":
            await redis.start()
        read = [without_heartbeats(answer.text) for answer in await asyncio.gather(*reading)]
        uncut = [(await one.get(f"/turns/{turn_id}/events")).text for turn_id, _ in turns]

    assert read == uncut


async def test_nothing_of_a_deleted_session_is_left(redis: RedisServer, tmp_path: Path) -> None:
    async with Standin.serve() as standin, Redis.from_url(redis.url) as looking:
        variables = {
            "GROQ_BASE_URL": standin.url,
            "DATABASE_URL": f"sqlite:///{tmp_path}/lex.db",
            "REDIS_URL": redis.url,
        }
        async with lex_process(**variables) as client:
            for session_id in ("gone", "gone", "kept"):
                body = {"query": "Hello", "session_id": session_id, "resume": True}
                assert (await client.post("/query", json=body)).status_code == 200
            async with waiting():
                while len(await looking.keys("lex:turn:*")) < 3:
                    await asyncio.sleep(0.02)

            await client.delete("/sessions/gone")

            async with waiting():
                while len(await looking.keys("lex:turn:*")) > 1:
                    await asyncio.sleep(0.02)
            (kept,) = (await client.get("/sessions/kept/messages")).json()["messages"][:1]
            assert await looking.keys("lex:turn:*") == [f"lex:turn:{kept['turn_id']}".encode()]
