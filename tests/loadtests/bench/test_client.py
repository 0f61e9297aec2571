"""The benchmark's client, against the stand-in for Groq and a silent server."""

import asyncio
import time

import pytest

from infrastructure.groq_standin import Standin
from infrastructure.ports import free_port
from loadtests.bench.client import Client, Reader, failures
from loadtests.bench.dialects import GROQ, answers
from tests.listening import listening

WORD = answers(1, tokens_per_second=300)


async def test_so_many_streams_run_at_any_time_and_all_that_began_are_read_to_their_end() -> None:
    async with Standin.serve() as standin:
        client, script = Client(standin.url, GROQ), answers(5, tokens_per_second=100)

        got = await client.keep_asking(script, at_once=3, seconds=0.2)

        assert standin.stats.peak_streams == 3
        assert standin.stats.completed == len(got) > 3
        assert failures(got) == []
        assert all(stream.asked_at < stream.chunk_times[0] <= stream.ended_at for stream in got)


async def test_held_streams_stay_open_until_they_are_left() -> None:
    async with Standin.serve() as standin:
        client = Client(standin.url, GROQ)

        held = await client.hold(answers(60, tokens_per_second=0.1), streams=5, at_once=2)

        assert standin.stats.open_streams == 5
        for reader in held:
            reader.leave()
        await standin.stats.until(lambda stats: stats.closed_early == 5)


async def test_a_stream_that_never_begins_is_a_failure_and_holds_nothing_up() -> None:
    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(silent) as port:
        reader = await Client(f"http://127.0.0.1:{port}", GROQ).open(WORD)
        await reader.begin(0.01)
        await reader.ended.wait()

    assert failures([reader.stream]) == ["no chunk within 0.01 s"]


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "HTTP/1.1 503"),
        (b'HTTP/1.1 200 OK\r\n\r\ndata: {"error": {}}\n\n', "HTTP/1.1 200"),
        (b'HTTP/1.1 200 OK\r\n\r\ndata: {"content":"the"}\n\n', "cut"),
    ],
)
async def test_a_refusal_an_error_and_a_cut_are_failures(answer: bytes, failure: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)

    async with listening(serve) as port:
        stream = await Client(f"http://127.0.0.1:{port}", GROQ).ask(WORD)

    assert stream.failure.startswith(failure)
    assert not stream.is_whole


async def test_no_connection_is_a_failure() -> None:
    stream = await Client(f"http://127.0.0.1:{free_port()}", GROQ).ask(WORD)

    assert stream.failure.startswith("no connection")


async def test_a_chunk_is_noted_once_however_it_is_cut() -> None:
    reader = Reader(GROQ, b"")
    answer = b'HTTP/1.1 200 OK\r\n\r\ndata: {"content":"the"}\n\ndata: {"content":" end"}\n\n'

    for byte in answer:
        reader.data_received(bytes([byte]))

    assert len(reader.stream.chunk_times) == 2
    assert reader.stream.asked_at < reader.stream.chunk_times[0] < time.perf_counter()
