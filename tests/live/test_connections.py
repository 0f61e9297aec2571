"""Connections that waste resources: slow heads, endless bodies, failing handshakes."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backend.server.protocols import MAX_HEAD_BYTES, HttpConnection
from infrastructure.groq_standin import Standin
from tests.deploy.servers import PLAIN, deployed
from tests.raw import HANDSHAKE, Wire, wire
from tests.serving import Lex, lex
from tests.waiting import within_limit


class Hasty(HttpConnection):
    head_seconds = 0.3
    rest_seconds = 0.3


@pytest.fixture
async def service() -> AsyncIterator[Lex]:
    async with lex(http=Hasty, body_timeout_seconds=0.3) as running:
        yield running


async def drip(line: Wire, beginning: bytes, drop: bytes) -> bytes:
    """Send a byte now and then until the server closes; return its answer."""

    async def go_on() -> None:
        while True:
            await asyncio.sleep(0.02)
            await line.send(drop)

    await line.send(beginning)
    dripping = asyncio.create_task(go_on())
    try:
        return await line.rest()
    finally:
        dripping.cancel()
        await asyncio.wait([dripping])
        dripping.cancelled() or dripping.exception()


@pytest.mark.parametrize(
    ("beginning", "drop"),
    [
        pytest.param(b"G", b"E", id="method"),
        pytest.param(b"GET /", b"a", id="path"),
        pytest.param(b"GET /health HTTP/1.1\r\nHost: lex\r\nX-Name: ", b"a", id="header"),
        pytest.param(b"GET /health HTTP/1.1\r\nHost: lex\r\n", b"A: b\r\n", id="headers"),
        pytest.param(HANDSHAKE, b"A: b\r\n", id="handshake"),
    ],
)
async def test_a_head_that_drips_is_given_up(service: Lex, beginning: bytes, drop: bytes) -> None:
    async with wire(service) as line:
        said = await drip(line, beginning, drop)

    # An invalid method is refused before the time-out.
    assert said.startswith((b"HTTP/1.1 408 ", b"HTTP/1.1 400 "))
    assert (await service.client.get("/health")).status_code == 200


async def test_empty_lines_before_a_request_do_not_keep_a_connection(service: Lex) -> None:
    async with wire(service) as line:
        assert await drip(line, b"\r\n", b"\r\n") == b""


async def test_a_second_request_that_drips_is_given_up_too(service: Lex) -> None:
    async with wire(service) as line:
        await line.send(b"GET /health HTTP/1.1\r\nHost: lex\r\n\r\n")
        await line.head()
        said = await drip(line, b"GET /health HTTP/1.1\r\nHost: lex\r\nX: ", b"a")

    assert b"HTTP/1.1 408 " in said


async def test_a_request_that_drips_behind_a_stream_does_not_cut_the_stream(service: Lex) -> None:
    service.standin.script({"text": "one two three four five six", "tokens_per_second": 6})
    body = b'{"query": "Count"}'
    head = b"POST /query HTTP/1.1\r\nHost: lex\r\nContent-Type: application/json\r\n"

    async with wire(service) as line:
        await line.send(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        said = await drip(line, b"GET /health HTTP/1.1\r\nHost: lex\r\nX: ", b"a")

    assert said.index(b"event: end") < said.index(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    ("told", "drop"),
    [
        pytest.param(b"Content-Length: 60000", b"a", id="length"),
        pytest.param(b"Transfer-Encoding: chunked", b"1\r\na\r\n", id="chunked"),
    ],
)
async def test_a_body_that_drips_is_refused_in_words(
    service: Lex, told: bytes, drop: bytes
) -> None:
    head = b"POST /query HTTP/1.1\r\nHost: lex\r\nContent-Type: application/json\r\n"

    async with wire(service) as line:
        said = await drip(line, head + told + b"\r\n\r\n", drop)

    assert said.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"request_timeout"' in said
    assert b"connection: close" in said


async def test_a_body_that_nobody_reads_is_not_read_for_ever(service: Lex) -> None:
    async with wire(service) as line:
        said = await drip(
            line, b"GET /health HTTP/1.1\r\nHost: l\r\nContent-Length: 60000\r\n\r\n", b"a"
        )

    assert said.startswith(b"HTTP/1.1 200 ")


async def test_a_slow_body_does_not_end_a_stream_that_never_asked_for_it(service: Lex) -> None:
    service.standin.script({"text": "one two three four five six", "tokens_per_second": 6})
    head = b"GET /query?query=Count HTTP/1.1\r\nHost: lex\r\nTransfer-Encoding: chunked\r\n\r\n"

    async with wire(service) as line:
        said = await drip(line, head, b"400\r\n" + b"a" * 1024 + b"\r\n")

    assert b"event: end" in said
    assert b"event: error" not in said


@pytest.mark.parametrize(
    "endless",
    [
        pytest.param(b"GET /health HTTP/1.1\r\nHost: lex\r\nX: ", id="header"),
        pytest.param(b"GET /", id="path"),
        pytest.param(
            b"POST /query HTTP/1.1\r\nHost: lex\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ",
            id="trailer",
        ),
        pytest.param(
            b"POST /query HTTP/1.1\r\nHost: lex\r\nTransfer-Encoding: chunked\r\n\r\n1;x=",
            id="extension",
        ),
    ],
)
async def test_a_line_without_end_is_cut_and_not_collected(service: Lex, endless: bytes) -> None:
    sent = 0

    async with wire(service) as line:
        await line.send(endless)
        with pytest.raises(OSError):  # noqa: PT011 - a reset or a broken pipe
            while sent < 100 * MAX_HEAD_BYTES:
                await line.send(b"a" * 8192)
                sent += 8192
                await asyncio.sleep(0)

    # Bytes in the sockets' buffers count as sent, although the server did not read them.
    assert sent < 100 * MAX_HEAD_BYTES
    assert (await service.client.get("/health")).status_code == 200


async def test_a_trailer_is_no_header(service: Lex) -> None:
    body = b'{"query": "Hello"}'
    chunk = b"%x\r\n" % len(body) + body + b"\r\n0\r\nIdempotency-Key: \xff\r\n\r\n"
    head = b"POST /query HTTP/1.1\r\nHost: lex\r\nContent-Type: application/json\r\n"

    async with wire(service) as line:
        await line.send(head + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk)
        said = await line.rest()

    assert said.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("line", "status"),
    [
        pytest.param(b"X-Name: " + b"a" * 9000, 431, id="long"),
        pytest.param(b"Sec-WebSocket-Key: second", 400, id="two keys"),
        # An ordinary request instead of a handshake; its body is still to come.
        pytest.param(b"Transfer-Encoding: chunked", 404, id="chunked"),
        pytest.param(b"Content-Length: 5", 404, id="body"),
    ],
)
async def test_a_failed_handshake_is_answered_and_does_not_break_the_drain(
    tmp_path: Path, line: bytes, status: int
) -> None:
    async with Standin.serve() as standin, deployed(PLAIN, standin, tmp_path) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(HANDSHAKE + line + b"\r\n\r\n")
        first = await within_limit(reader.readline())
        running.send(signal.SIGTERM)
        code = await running.ended()
        writer.close()

    assert first.startswith(b"HTTP/1.1 %d " % status)
    assert code == 0
    assert "Traceback" not in running.log.read_text()
