"""Hostile WebSockets: each is closed with a fitting code, and the service keeps working."""

import asyncio
import gc
import json
import zlib
from functools import cache

import pytest

from backend.server.protocols import WebSocketConnection
from tests.api.hostile import (
    MAX_BODY,
    ONE_LOOP,
    assert_still_there,
    attacked,
    exchange,
    owned,
    service,
    statuses,
)
from tests.credentials import token
from tests.raw import HANDSHAKE, Wire, frame, wire
from tests.serving import Lex
from tests.waiting import waiting

__all__ = ["attacked", "owned", "service"]

pytestmark = ONE_LOOP

TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9
PACKED = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
GARBLED, UNKNOWN, NO_TEXT, NOT_ALLOWED, TOO_LARGE = 1002, 1003, 1007, 1008, 1009


def packed(data: bytes) -> bytes:
    press = zlib.compressobj(9, zlib.DEFLATED, -12)
    return (press.compress(data) + press.flush(zlib.Z_SYNC_FLUSH))[:-4]


@cache
def bomb() -> bytes:
    return packed(b"\x00" * 50_000_000)


FRAMES = {
    "no mask": (frame(b"Hello", masked=False), GARBLED),
    "a reserved bit": (frame(b"Hello", reserved=0b010), GARBLED),
    "packed without agreement": (frame(b"Hello", reserved=0b100), GARBLED),
    "an unknown kind": (frame(b"Hello", opcode=5), GARBLED),
    "an unknown control": (frame(b"", opcode=11), GARBLED),
    "a control in pieces": (frame(b"", opcode=PING, final=False), GARBLED),
    "a control that is too large": (frame(b"a" * 126, opcode=PING), GARBLED),
    "a second piece without a first": (frame(b"Hello", opcode=0), GARBLED),
    "a new message in the middle of one": (frame(b"a", final=False) + frame(b"b"), GARBLED),
    "a close code that is none": (frame(b"\x03", opcode=CLOSE), GARBLED),
    "a close code of nobody": (frame((999).to_bytes(2, "big"), opcode=CLOSE), GARBLED),
    "a reason that is no text": (frame(b"\x03\xe8\xff", opcode=CLOSE), NO_TEXT),
    "no text": (frame(b"\xff\xfe"), NO_TEXT),
    "half a character": (frame(b"\xe2\x82"), NO_TEXT),
    "a surrogate": (frame(b"\xed\xa0\x80"), NO_TEXT),
    "bytes": (frame(b"Hello", opcode=BINARY), NOT_ALLOWED),
    "a message that is too large": (frame(b"a" * (MAX_BODY + 1)), TOO_LARGE),
    "a message that only says so": (b"\x81\xff" + (2**62).to_bytes(8, "big"), TOO_LARGE),
    "a length with its first bit": (b"\x81\xff" + b"\xff" * 8, TOO_LARGE),
    "pieces that are too large": (
        frame(b"a" * 4000, final=False) + frame(b"a" * 4000, opcode=0, final=False),
        TOO_LARGE,
    ),
    "empty pieces without end": (
        frame(b"", final=False) + frame(b"", opcode=0, final=False) * 3000,
        TOO_LARGE,
    ),
}


async def opened(line: Wire, headers: bytes = b"") -> None:
    await line.send(HANDSHAKE + headers + b"\r\n")
    assert (await line.head()).startswith(b"HTTP/1.1 101 ")


async def close_code(line: Wire) -> int:
    """Return the server's close code. Earlier frames are skipped."""
    async with waiting():
        while True:
            kind, size = await line.reader.readexactly(2)
            if size == 126:
                size = int.from_bytes(await line.reader.readexactly(2), "big")
            payload = await line.reader.readexactly(size)
            if kind == 0x80 | CLOSE:
                return int.from_bytes(payload[:2], "big")


@pytest.mark.parametrize(("data", "code"), FRAMES.values(), ids=FRAMES)
async def test_a_frame_that_may_not_be_closes_its_connection(
    service: Lex, data: bytes, code: int
) -> None:
    async with wire(service) as line:
        await opened(line)
        await line.send(data)
        assert await close_code(line) == code


@pytest.mark.parametrize("pieces", ["in one", "in pieces"])
async def test_a_bomb_is_not_unpacked(service: Lex, pieces: str) -> None:
    if pieces == "in one":
        data = frame(bomb(), reserved=0b100)
    else:
        data = frame(bomb()[:2000], reserved=0b100, final=False) + frame(bomb()[2000:], opcode=0)
    async with wire(service) as line:
        await opened(line, PACKED)
        await line.send(data)
        code = await close_code(line)

    assert code == TOO_LARGE


async def test_a_message_that_cannot_be_unpacked_closes_its_connection(service: Lex) -> None:
    async with wire(service) as line:
        await opened(line, PACKED)
        await line.send(frame(b"\xff" * 100, reserved=0b100))
        code = await close_code(line)

    assert code in (GARBLED, NO_TEXT)


async def test_pings_whose_answers_nobody_reads_fill_no_memory(service: Lex) -> None:
    some = frame(b"a" * 125, opcode=PING) * 2000

    async with wire(service) as line:
        await opened(line)
        line.reader._transport.pause_reading()  # type: ignore[attr-defined]
        with pytest.raises(TimeoutError):
            # Either the server reads and drops all of it, or the sender has to wait.
            async with asyncio.timeout(1):
                while True:
                    await line.send(some)
                    await asyncio.sleep(0)
        buffered = _longest_buffer()

    assert buffered < 2_000_000


def _longest_buffer() -> int:
    return max(
        each.transport.get_write_buffer_size()
        for each in gc.get_objects()
        if type(each) is WebSocketConnection and not each.transport.is_closing()
    )


MESSAGES = {
    "half of an object": '{"type": "query"',
    "a name twice": '{"type": "query", "query": "a", "query": "b"}',
    "a type twice": '{"type": "stop", "type": "query", "query": "a"}',
    "deep lists": "{" + '"a":[' * 500,
    "no type": '{"query": "Hello"}',
    "an unknown type": '{"type": "become_admin"}',
    "a type that is a list": '{"type": ["query"], "query": "Hello"}',
    "a NUL": '{"type": "query", "query": "a\\u0000b"}',
    "a bare NUL": "a\x00b",
    "half of a pair": '{"type": "query", "query": "\\ud800"}',
    "no number": '{"type": "query", "query": "a", "x": NaN}',
    "too many characters": "a" * 101,
    "somebody's turn": '{"type": "resume", "last_event_id": "0123456789abcdef-0"}',
    "no turn": '{"type": "resume", "last_event_id": "../0-0"}',
}


@pytest.mark.parametrize("text", MESSAGES.values(), ids=MESSAGES)
async def test_a_message_that_makes_no_sense_is_refused_and_the_next_is_answered(
    service: Lex, text: str
) -> None:
    async with wire(service) as line:
        await opened(line)
        await line.send(frame(text.encode()))
        async with waiting():
            refusal = await line.reader.readuntil(b"}}")
        await line.send(frame(b"Hello"))
        async with waiting():
            answer = await line.reader.readuntil(b'"type":"end"')

    error = json.loads(refusal[refusal.index(b"{") :])
    assert error["data"]["code"] in ("invalid_field", "turn_not_found")
    assert b'"type":"error"' not in answer


LAST = b"Connection: close\r\n"

HANDSHAKES = {
    "without a key": (
        HANDSHAKE.replace(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b""),
        400,
    ),
    "with a key that is none": (HANDSHAKE.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"a"), 400),
    "of another version": (HANDSHAKE.replace(b"Version: 13", b"Version: 8"), 400),
    # An ordinary request without a route: see `test_upgrades`.
    "by POST": (HANDSHAKE.replace(b"GET", b"POST", 1) + LAST, 404),
    "with a body": (HANDSHAKE + LAST + b"Content-Length: 5\r\n", 404),
    "in chunks": (HANDSHAKE + LAST + b"Transfer-Encoding: chunked\r\n", 404),
    "in chunks and something else": (
        HANDSHAKE + LAST + b"Transfer-Encoding: gzip, chunked\r\n",
        501,
    ),
    "with a long line": (HANDSHAKE + b"X: " + b"a" * 9000 + b"\r\n", 431),
    "with a long cookie": (HANDSHAKE + b"Cookie: " + b"a" * 40_000 + b"\r\n", 431),
    "with many headers": (HANDSHAKE + b"X: a\r\n" * 120, 431),
    "with two hosts": (HANDSHAKE + b"Host: other\r\n", 400),
    "from two sites": (HANDSHAKE + b"Origin: http://lex\r\nOrigin: http://evil\r\n", 400),
    "to nowhere": (HANDSHAKE.replace(b"/ws/sessions/s1", b"/ws/nowhere"), 403),
    "to a path inside": (HANDSHAKE.replace(b"/s1", b"/s1%2f..%2fs2"), 403),
    "to a route that is none": (HANDSHAKE.replace(b"/ws/sessions/s1", b"/query"), 403),
}


@pytest.mark.parametrize(("data", "status"), HANDSHAKES.values(), ids=HANDSHAKES)
async def test_a_handshake_that_may_not_be_is_refused(
    service: Lex, data: bytes, status: int
) -> None:
    assert statuses(await exchange(service, data + b"\r\n", is_all=False)) == [status]


FOREIGN = {
    "another site": b"Origin: https://evil.example\r\n",
    "no site": b"Origin: null\r\n",
    "a site that begins like ours": b"Origin: http://lex.evil.example\r\n",
}


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
async def test_a_page_of_another_site_is_let_in_nowhere(service: Lex, headers: bytes) -> None:
    async with wire(service) as line:
        await opened(line, headers)
        code = await close_code(line)

    assert code == NOT_ALLOWED


SESSIONS = ["-s1", ".", "..", "a%00", "a%0d%0aX:%201", "a%20b", "%ff", "a" * 129]


@pytest.mark.parametrize("session_id", SESSIONS)
async def test_a_session_that_cannot_be_is_closed(service: Lex, session_id: str) -> None:
    async with wire(service) as line:
        await line.send(HANDSHAKE.replace(b"/s1", f"/{session_id}".encode()) + b"\r\n")
        await line.head()
        code = await close_code(line)

    assert code == NOT_ALLOWED


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param("", id="nothing"),
        pytest.param(
            "Authorization: Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.\r\n", id="unsigned"
        ),
        pytest.param(f"Authorization: Bearer {token('a', aud='other')}\r\n", id="for others"),
        pytest.param("Cookie: lex_session=a\r\n", id="a cookie"),
        pytest.param(f"Sec-WebSocket-Protocol: {token('a')}\r\n", id="in the wrong place"),
    ],
)
async def test_nobody_is_let_in(owned: Lex, headers: str) -> None:
    async with wire(owned) as line:
        await opened(line, headers.encode())
        code = await close_code(line)

    assert code == NOT_ALLOWED


async def test_the_service_still_answers_after_all_attacks(attacked: Lex) -> None:
    await assert_still_there(attacked)
