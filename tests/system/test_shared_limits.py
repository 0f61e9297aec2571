"""Rate limits and slots that workers share through a real Redis, and their fallback without it."""

import asyncio
import json
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import httpx
import pytest
from limits.aio.strategies import MovingWindowRateLimiter
from structlog.testing import capture_logs
from websockets.asyncio.client import connect as connect_websocket
from websockets.exceptions import InvalidStatus

from backend.api.rate_limits.redis_pipeline import (
    ANSWER_SECONDS,
    OutOfReach,
    RedisPipeline,
    Script,
    connect,
    open_connection,
)
from backend.api.rate_limits.shared import SharedLimits
from backend.api.rate_limits.stream_slots import LocalSlots, SharedSlots
from backend.api.rate_limits.windows import Window, quotas
from infrastructure.groq_standin import Standin
from tests.api.test_limits import FOREVER, abandon, assert_not_locked_out, streaming
from tests.api.test_realtime import address
from tests.listening import listening
from tests.processes import logging_lex_process
from tests.redis_cluster import AnyRedis
from tests.redis_server import RedisServer
from tests.serving import lex
from tests.waiting import waiting

WINDOWS = [
    Window(quota, key)
    for text, key in (("2/minute;3/hour", "s1"), ("4/minute", "c1"))
    for quota in quotas("session", text)
]


@asynccontextmanager
async def pipeline_to(
    redis: AnyRedis, on_change: Callable[[bool], None] = lambda _: None
) -> AsyncIterator[RedisPipeline]:
    client = open_connection(redis.url)
    pipeline = RedisPipeline(client, on_change=on_change, probe_seconds=0.05)
    await pipeline.open()
    try:
        yield pipeline
    finally:
        await pipeline.close()
        await client.aclose()


async def until_up(pipeline: RedisPipeline, *, is_up: bool = True) -> None:
    async with waiting():
        while pipeline.is_up is not is_up:
            await asyncio.sleep(0.01)


async def test_windows_are_charged_together_or_not_at_all(any_redis: AnyRedis) -> None:
    async with pipeline_to(any_redis) as pipeline:
        limits = SharedLimits(pipeline)
        verdicts = [await limits.charge(WINDOWS) for _ in range(4)]

    assert [verdict.is_granted for verdict in verdicts] == [True, True, False, False]
    counts = [[one.remaining for one in verdict.standings] for verdict in verdicts]
    assert counts == [[1, 2, 3], [0, 1, 2], [0, 1, 2], [0, 1, 2]]
    assert 59 < verdicts[2].retry_after <= 60


async def test_the_library_reads_what_was_counted(redis: RedisServer) -> None:
    async with pipeline_to(redis) as pipeline:
        limits = SharedLimits(pipeline)
        await limits.charge(WINDOWS)
        theirs = MovingWindowRateLimiter(limits.storage)
        hit = [await theirs.hit(window.quota.item, window.key) for window in WINDOWS]
        stats = [await theirs.get_window_stats(one.quota.item, one.key) for one in WINDOWS]
        verdict = await limits.charge(WINDOWS)

    assert hit == [True, True, True]
    assert [one.remaining for one in stats] == [0, 1, 2]
    assert not verdict.is_granted


async def test_time_to_wait_is_until_one_is_let_through(any_redis: AnyRedis) -> None:
    (quota,) = quotas("session", "1/second")
    async with pipeline_to(any_redis) as pipeline:
        limits = SharedLimits(pipeline)
        await limits.charge([Window(quota, "s1")])
        await asyncio.sleep(0.4)
        refused = await limits.charge([Window(quota, "s1")])
        await asyncio.sleep(refused.retry_after)
        granted = await limits.charge([Window(quota, "s1")])

    assert 0 < refused.retry_after <= 0.6
    assert (refused.is_granted, granted.is_granted) == (False, True)


async def test_what_redis_keeps_names_nobody_and_expires(redis: RedisServer) -> None:
    async with lex(redis_url=redis.url, max_streams_per_client=5) as service:
        service.standin.script(FOREVER, times=None)
        async with streaming(service, "my-session"), connect(redis.url) as client:
            keys = await client.keys("*")
            lives = [await client.ttl(key) for key in keys]

    # The background task of the shared rates has its own keys, at a time of its own.
    assert len([key for key in keys if "lex:rate:" not in str(key)]) == 3
    assert not any("my-session" in str(key) or "127.0.0.1" in str(key) for key in keys)
    assert all(0 < life <= 86_400 for life in lives)


async def test_the_line_is_lost_and_comes_back_by_itself(redis: RedisServer) -> None:
    changes: list[bool] = []
    one = Script("return 1", [], [])
    with capture_logs() as logged:
        async with pipeline_to(redis, changes.append) as pipeline:
            assert await pipeline.call(one) == 1
            await redis.kill()
            with pytest.raises(OutOfReach):
                await pipeline.call(one)
            await redis.start()
            await until_up(pipeline)
            assert await pipeline.call(one) == 1
            redis.pause()
            begun = time.monotonic()
            with pytest.raises(OutOfReach):
                await pipeline.call(one)
            waited = time.monotonic() - begun
            with pytest.raises(OutOfReach):
                await pipeline.call(one)
            redis.go_on()
            await until_up(pipeline)
            assert await pipeline.call(one) == 1

    assert changes == [True, False, True, False, True]
    assert 0.1 < waited < 2
    assert [entry["event"].rpartition("_")[2] for entry in logged] == [
        "available",
        "unavailable",
        "available",
        "unavailable",
        "available",
    ]


@pytest.mark.parametrize(
    "fault", [("CONFIG", "SET", "maxmemory", "1"), ("REPLICAOF", "127.0.0.1", "1")]
)
async def test_a_redis_that_takes_nothing_is_lost_once_however_well_it_answers(
    redis: RedisServer, fault: tuple[str, ...]
) -> None:
    changes: list[bool] = []
    client: Any = connect(redis.url)
    async with pipeline_to(redis, changes.append) as pipeline, client:
        limits = SharedLimits(pipeline)
        await client.execute_command(*fault)
        with pytest.raises(OutOfReach):
            await limits.charge(WINDOWS)
        await asyncio.sleep(0.5)  # many probes
        with pytest.raises(OutOfReach):
            await limits.charge(WINDOWS)
        lost = list(changes)
        await client.execute_command("CONFIG", "SET", "maxmemory", "0")
        await client.execute_command("REPLICAOF", "NO", "ONE")
        await until_up(pipeline)
        verdict = await limits.charge(WINDOWS)

    assert lost == [True, False]
    assert verdict.is_granted


@asynccontextmanager
async def distant(redis: RedisServer, *, one_way_seconds: float) -> AsyncIterator[str]:
    """The URL of a proxy to that Redis, which delays every message."""
    later = asyncio.get_running_loop().call_later
    place = urlsplit(redis.url)

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            later(one_way_seconds, writer.write, data)
        await asyncio.sleep(one_way_seconds)
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(place.hostname, place.port)
        try:
            await asyncio.gather(carry(reader, there_writer), carry(there_reader, writer))
        finally:
            there_writer.close()

    async with listening(connected) as port:
        yield f"redis://127.0.0.1:{port}/0"


async def test_a_redis_far_away_is_found_though_connecting_takes_several_answers(
    redis: RedisServer,
) -> None:
    async with distant(redis, one_way_seconds=0.04) as url, connect(url) as client:
        pipeline = RedisPipeline(client, on_change=lambda _: None)
        await pipeline.open()
        verdict = await SharedLimits(pipeline).charge(WINDOWS)
        await pipeline.close()

    assert verdict.is_granted


async def test_websockets_of_all_workers_count_and_a_worker_that_stops_gives_its_back(
    any_redis: AnyRedis,
) -> None:
    async with (
        lex(redis_url=any_redis.url, max_sockets_per_client=1) as one,
        AsyncExitStack() as stopping,
    ):
        other = lex(redis_url=any_redis.url, max_sockets_per_client=1)
        there = address(await stopping.enter_async_context(other))
        async with connect_websocket(there, proxy=None):
            with pytest.raises(InvalidStatus) as refused:
                await connect_websocket(address(one), proxy=None)
            await stopping.aclose()
            async with connect_websocket(address(one), proxy=None):
                pass

    assert refused.value.response.status_code == 429


async def test_a_key_in_redis_holds_its_window_and_no_more(redis: RedisServer) -> None:
    (quota,) = quotas("client", "100/2 seconds")
    async with pipeline_to(redis) as pipeline, connect(redis.url) as client:
        limits = SharedLimits(pipeline)
        for _ in range(50):
            await limits.charge([Window(quota, "c1")])
        async with waiting():
            while (await limits.charge([Window(quota, "c1")])).standings[0].remaining < 90:
                await asyncio.sleep(0.3)
        (key,) = await client.keys("lex:limits*")

        assert await client.llen(key) <= 10
        assert 0 < await client.pttl(key) <= 2000


async def test_many_at_once_go_over_one_connection(redis: RedisServer) -> None:
    async with pipeline_to(redis) as pipeline, connect(redis.url) as client:
        await asyncio.gather(
            *(pipeline.call(Script("return redis.call('INCR', 'n')", [], [])) for _ in range(1000))
        )

        assert await client.get("n") == b"1000"
        # The service's connection and that of this test.
        assert (await client.info("clients"))["connected_clients"] == 2


async def test_slots_are_shared_and_those_of_a_dead_worker_expire(any_redis: AnyRedis) -> None:
    async with pipeline_to(any_redis) as pipeline:
        dead, living = (
            SharedSlots(LocalSlots(most=2), pipeline, most=2, seconds=seconds)
            for seconds in (1, 60)
        )
        taken = [await dead.take("c", "t1"), await living.take("c", "t2")]
        refused = await living.take("c", "t3")
        async with waiting():
            while not await living.take("c", "t3"):
                await asyncio.sleep(0.05)
        full = await living.take("c", "t4")
        living.release("c", "t2")
        again = await living.take("c", "t4")

    assert taken == [True, True]
    assert (refused, full, again) == (False, False, True)


async def test_a_slot_that_nobody_waits_for_any_more_is_given_back(any_redis: AnyRedis) -> None:
    async with pipeline_to(any_redis) as pipeline:
        slots = SharedSlots(LocalSlots(most=1), pipeline, most=1)
        taking = asyncio.create_task(slots.take("c", "t1"))
        await asyncio.sleep(0)
        taking.cancel()
        await asyncio.wait([taking])

        assert taking.cancelled()
        assert await slots.take("c", "t2")


async def test_slots_that_are_renewed_are_kept(redis: RedisServer) -> None:
    async with pipeline_to(redis) as pipeline:
        slots = SharedSlots(LocalSlots(most=2), pipeline, most=1, seconds=1)
        await slots.take("c", "t1")
        refused = []
        for _ in range(8):
            await asyncio.sleep(0.25)
            await slots.renew()
            refused.append(not await slots.take("c", "t2"))

    assert all(refused)


async def test_slots_that_were_taken_without_redis_are_known_when_it_is_back(
    redis: RedisServer,
) -> None:
    async with pipeline_to(redis) as pipeline:
        one = SharedSlots(LocalSlots(most=1), pipeline, most=1)
        other = SharedSlots(LocalSlots(most=1), pipeline, most=1)
        await redis.kill()
        await until_lost(pipeline)
        taken = await one.take("c", "t1")
        await redis.start()
        await until_up(pipeline)
        await one.renew()

        refused = not await other.take("c", "t2")

    assert (taken, refused) == (True, True)


async def until_lost(pipeline: RedisPipeline) -> None:
    async with waiting():
        while pipeline.is_up:
            pipeline.tell(Script("return 1", [], []))
            await asyncio.sleep(0.01)


@asynccontextmanager
async def two_workers(
    redis: RedisServer, folder: Path, *, stderr: IO[bytes] | None = None, **variables: str
) -> AsyncIterator[list[httpx.AsyncClient]]:
    async with Standin.serve() as standin:
        shared = {
            "GROQ_BASE_URL": standin.url,
            "DATABASE_URL": f"sqlite:///{folder}/lex.db",
            "REDIS_URL": redis.url,
            "LOG_LEVEL": "WARNING",
            **variables,
        }
        async with (
            logging_lex_process(shared, stderr) as one,
            logging_lex_process(shared, stderr) as other,
        ):
            yield [one, other]


async def ask_often(
    workers: list[httpx.AsyncClient], requests: int, *, at_once: int
) -> tuple[Counter[int], list[float]]:
    """Ask in one session, in turn through each worker. Returns statuses and seconds."""
    gate = asyncio.Semaphore(at_once)
    statuses: Counter[int] = Counter()
    seconds = []

    async def ask(number: int) -> None:
        async with gate:
            begun = time.monotonic()
            body = {"query": "Hello", "session_id": "s1"}
            answer = await workers[number % len(workers)].post("/query", json=body)
            statuses[answer.status_code] += 1
            seconds.append(time.monotonic() - begun)

    await asyncio.gather(*(ask(number) for number in range(requests)))
    return statuses, seconds


async def test_of_a_thousand_through_two_workers_twenty_pass(
    redis: RedisServer, tmp_path: Path
) -> None:
    statuses: Counter[int] = Counter()
    for number in range(5):
        folder = tmp_path / str(number)
        folder.mkdir()
        with (folder / "log").open("wb") as log:
            limit = "20/minute;300/day"
            async with two_workers(redis, folder, stderr=log, RATE_LIMIT_SESSION=limit) as workers:
                statuses, _ = await ask_often(workers, 1000, at_once=50)
        # If the machine is so busy that Redis answers too late, each worker counts 20 of its own.
        if b"shared_limits_unavailable" not in (folder / "log").read_bytes():
            break
        await redis.kill()  # with all its counters
        await redis.start()

    # A session runs one turn at a time. Requests that found it busy had passed the limit.
    assert statuses[200] + statuses[409] == 20
    assert statuses[429] == 980


async def test_while_redis_comes_and_goes_no_worker_lets_through_more_than_its_own(
    redis: RedisServer, tmp_path: Path
) -> None:
    async with two_workers(redis, tmp_path, RATE_LIMIT_SESSION="20/hour") as workers:
        asking = asyncio.create_task(ask_often(workers, 1000, at_once=10))
        while not asking.done():
            await redis.kill()
            await asyncio.sleep(0.3)
            await redis.start()
            await asyncio.sleep(1.5)
            redis.pause()
            await asyncio.sleep(0.3)
            redis.go_on()
            await asyncio.sleep(0.3)
        statuses, seconds = await asking

    assert 20 <= statuses[200] + statuses[409] <= 40
    assert sum(statuses.values()) == statuses[200] + statuses[409] + statuses[429] == 1000
    assert statistics.median(seconds) < 0.25


async def test_a_redis_that_hangs_is_waited_for_once(redis: RedisServer, tmp_path: Path) -> None:
    async with two_workers(redis, tmp_path) as workers:

        async def ask(number: int) -> float:
            begun = time.monotonic()
            body = {"query": "Hello", "session_id": f"s{number}"}
            answer = await workers[0].post("/query", json=body)
            assert answer.status_code == 200
            return time.monotonic() - begun

        before = [await ask(number) for number in range(20)]
        redis.pause()
        first = await ask(100)
        during = [await ask(200 + number) for number in range(20)]
        redis.go_on()

    assert first < statistics.median(before) + 1
    assert statistics.median(during) < statistics.median(before) + 0.1


async def test_streams_keep_their_pace_while_redis_hangs(
    redis: RedisServer, tmp_path: Path
) -> None:
    calm, paused = [], []
    async with two_workers(redis, tmp_path) as workers:
        place = workers[0].base_url.netloc.decode()
        times: list[list[float]] = [[] for _ in range(100)]
        streams = [
            asyncio.create_task(note_arrivals(place, number, each))
            for number, each in enumerate(times)
        ]
        async with waiting():
            while not all(times):
                await asyncio.sleep(0.05)
        for _ in range(5):
            calm.append(time.monotonic())
            await asyncio.sleep(1)
            redis.pause()
            paused.append(time.monotonic())
            # They wait for Redis, and must not delay the streams.
            asked = [workers[0].post("/query", json={"query": "Hello"}) for _ in range(5)]
            answers = await asyncio.gather(*asked)
            await asyncio.sleep(1)
            redis.go_on()
            assert {answer.status_code for answer in answers} == {200}
            await until_shared(workers[0])
        for stream in streams:
            stream.cancel()
        await asyncio.wait(streams)

    # A stream that waits for Redis would pause for all of `ANSWER_SECONDS`. A busy machine is slow
    # with a healthy Redis as well, so compare with that.
    usual = statistics.median(gap_p99(times, begin) for begin in calm)
    while_paused = statistics.median(gap_p99(times, begin) for begin in paused)
    assert while_paused < max(usual + ANSWER_SECONDS / 2, 1.5 * usual)


async def until_shared(worker: httpx.AsyncClient) -> None:
    async with waiting():
        while "lex_shared_limits_available 1.0" not in (await worker.get("/metrics")).text:
            await asyncio.sleep(0.05)


def gap_p99(streams: list[list[float]], begin: float) -> float:
    """The 99th percentile of the gaps within one second from `begin`."""
    gaps = [
        later - earlier
        for times in streams
        for earlier, later in pairwise(times)
        if begin <= later <= begin + 1
    ]
    assert len(gaps) > len(streams)
    return statistics.quantiles(gaps, n=100)[98]


async def note_arrivals(place: str, number: int, times: list[float]) -> None:
    """Note when each chunk of an endless stream arrives."""
    rounds = [{"tokens": 100_000, "tokens_per_second": 20}]
    query = f"Count [[script {json.dumps({'rounds': rounds})}]]"
    body = json.dumps({"query": query, "session_id": f"s{number}"}).encode()
    reader, writer = await asyncio.open_connection(*place.split(":"))
    writer.write(
        b"POST /query HTTP/1.1\r\nhost: lex\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%b" % (len(body), body)
    )
    try:
        async for line in reader:
            if line.startswith(b"event: chunk"):
                times.append(time.monotonic())
    finally:
        writer.close()


async def test_slots_of_a_client_count_in_all_workers(redis: RedisServer, tmp_path: Path) -> None:
    async with two_workers(redis, tmp_path, MAX_STREAMS_PER_CLIENT="3") as workers:
        rounds = json.dumps({"rounds": [FOREVER]})
        streams = [
            workers[number % 2].stream(
                "POST",
                "/query",
                json={"query": f"Wait [[script {rounds}]]", "session_id": f"s{number}"},
            )
            for number in range(3)
        ]
        opened = [await stream.__aenter__() for stream in streams]
        body = {"query": "Hello", "session_id": "another"}
        refused = [await worker.post("/query", json=body) for worker in workers]
        for stream in streams:
            await stream.__aexit__(None, None, None)
        async with waiting():
            while (await workers[0].post("/query", json=body)).status_code != 200:
                await asyncio.sleep(0.05)

    assert [stream.status_code for stream in opened] == [200, 200, 200]
    assert [answer.status_code for answer in refused] == [429, 429]


@pytest.mark.timeout(600)
async def test_five_thousand_abandoned_streams_lock_nobody_out(redis: RedisServer) -> None:
    async with lex(redis_url=redis.url, max_streams_per_client=20) as service:
        service.standin.script(FOREVER, contains="Wait", times=None)

        await abandon(service, 5000, at_once=50)

        await assert_not_locked_out(service, slots=20)
