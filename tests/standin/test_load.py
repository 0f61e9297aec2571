"""Many paced streams at once, and the stand-in's counters."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from infrastructure.groq_standin import Standin
from tests.waiting import at_once, within_limit

from .raw import Answer, ask, body, connect, exchange, read, request, user


@asynccontextmanager
async def streams(url: str, count: int) -> AsyncIterator[list[asyncio.StreamReader]]:
    opened = await asyncio.gather(*(connect(url) for _ in range(count)))
    for _, writer in opened:
        writer.write(request(body()))
    try:
        yield [reader for reader, _ in opened]
    finally:
        for _, writer in opened:
            writer.close()


async def test_hundreds_of_streams_keep_their_pace(standin: Standin) -> None:
    standin.script({"tokens": 21, "tokens_per_second": 20, "first_token_after": 0.5}, times=None)

    async with streams(standin.url, 300) as readers:
        began, used_before = time.monotonic(), time.process_time()
        answers: list[Answer] = await asyncio.gather(*(read(reader) for reader in readers))
        took, used = time.monotonic() - began, time.process_time() - used_before

    assert all(len(answer.chunks) == 23 for answer in answers)
    assert took > 1.3
    # CPU time, of 1.5 seconds: other programs may use the processor as well.
    assert used < 1.4
    assert standin.stats.peak_streams == 300
    assert standin.stats.completed == 300


async def test_a_pace_above_the_clock_s_resolution_is_kept_too(standin: Standin) -> None:
    standin.script({"tokens": 2000, "tokens_per_second": 4000})

    began, used_before = time.monotonic(), time.process_time()
    answer = await ask(standin.url)
    took, used = time.monotonic() - began, time.process_time() - used_before

    assert len(answer.chunks) == 2002
    assert took > 0.4
    # CPU time, of half a second: other programs may use the processor as well.
    assert used < 0.5


async def test_an_answer_without_a_pace_comes_in_one_go(standin: Standin) -> None:
    standin.script({"tokens": 300})
    reader, writer = await connect(standin.url)

    writer.write(request(body()))
    await reader.readexactly(1)
    waiting = len(reader._buffer)  # type: ignore[attr-defined]
    answer = await reader.readuntil(b"0\r\n\r\n")
    writer.close()

    assert waiting > 30_000
    assert answer.count(b"data: {") == 302


async def test_clients_that_leave_are_counted_by_when_they_left(standin: Standin) -> None:
    standin.script({"tokens": 1000, "tokens_per_second": 50}, times=40)
    standin.script({"tokens": 10, "first_token_after": 60}, times=20)

    async with streams(standin.url, 40) as readers:
        await asyncio.gather(*(reader.readuntil(b"data: ") for reader in readers))
        async with streams(standin.url, 20):
            await standin.stats.until(lambda stats: stats.open_streams == 60)
    await at_once(standin.stats.until(lambda stats: stats.open_streams == 0), seconds=0.25)

    assert standin.stats.closed_in_mid_stream == 40
    assert standin.stats.closed_before_first_byte == 20
    assert standin.stats.closed_early == 60
    assert standin.stats.open_connections == 0


async def test_an_idle_connection_that_closes_was_not_early(standin: Standin) -> None:
    await ask(standin.url)

    await standin.stats.until(lambda stats: stats.open_connections == 0)
    assert standin.stats.closed_early == 0
    assert standin.stats.completed == 1


async def test_a_reader_that_is_slow_holds_up_its_own_stream_only(standin: Standin) -> None:
    standin.script({"tokens": 60_000}, contains="slow")
    reader, writer = await connect(standin.url)
    transport = cast(asyncio.Transport, writer.transport)
    transport.pause_reading()

    writer.write(request(body(user("slow"))))
    await standin.stats.until(lambda stats: stats.open_streams == 1)
    other = await ask(standin.url)
    is_held = standin.stats.open_streams == 1
    transport.resume_reading()
    answer = await within_limit(read(reader))
    writer.close()

    assert other.status == 200
    assert is_held
    assert len(answer.frames) == 60_003


async def test_what_was_asked_can_be_read_back(standin: Standin) -> None:
    await ask(standin.url, user("Hi"), temperature=0.5)
    await exchange(standin.url, request(b"no json"))

    path = "/_standin/stats"
    (stats,) = await exchange(standin.url, request(method="GET", path=path))
    (zeroed,) = await exchange(standin.url, request(method="DELETE", path=path))
    first, second = stats.json["last_requests"]

    assert stats.json["requests"] == 2
    assert stats.json["models"] == {"llama-3.3-70b-versatile": 1}
    assert first["body"]["temperature"] == 0.5
    assert first["headers"]["authorization"] == "***"
    assert second["body"] == "no json"
    assert (stats.json["completed"], stats.json["failed"]) == (1, 1)
    assert zeroed.status == 204
    assert standin.stats.requests == 0
    assert not standin.stats.last_requests


async def test_only_the_last_requests_are_kept(standin: Standin) -> None:
    await exchange(standin.url, *[request(body())] * 60)

    assert standin.stats.requests == 60
    assert len(standin.stats.last_requests) == 50
    assert standin.stats.last_requests[-1].headers["authorization"] == "Bearer key"


async def test_waiting_for_a_state_that_does_not_come_times_out(standin: Standin) -> None:
    with pytest.raises(TimeoutError):
        await standin.stats.until(lambda stats: stats.requests == 1, seconds=0.01)


async def test_a_stand_in_that_stops_drops_its_streams_and_can_start_again() -> None:
    async with Standin.serve() as standin:
        standin.script({"tokens": 10, "fault": {"kind": "stall"}})
        async with streams(standin.url, 1) as (reader,):
            await reader.readuntil(b"data: ")
            url = standin.url
            await standin.stop()
            await reader.read()
        with pytest.raises(ConnectionRefusedError):
            await ask(url)
        await standin.start()
        answer = await ask(url)

    assert answer.status == 200
    assert (standin.stats.failed, standin.stats.closed_early) == (1, 0)
