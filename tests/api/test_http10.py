"""HTTP/1.0, which old clients and some health checks use."""

import json

import pytest

from tests.raw import wire
from tests.serving import Lex, lex, parse, text_of

QUERY = json.dumps({"query": "Hello", "session_id": "s1"}).encode()
ASKED = b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(QUERY)
CONNECTIONS = {
    "nothing": b"",
    "keep-alive": b"Connection: keep-alive\r\n",
    "close": b"Connection: close\r\n",
    "a host": b"Host: lex\r\nConnection: keep-alive\r\n",
}


async def answered(service: Lex, request: bytes) -> tuple[list[str], str]:
    """Return the lines of the head in lower case, and the rest until the server closes."""
    async with wire(service) as line:
        await line.send(request)
        head, _, body = (await line.rest()).partition(b"\r\n\r\n")
    return head.decode().lower().split("\r\n"), body.decode()


def assert_closing(head: list[str]) -> None:
    assert [line for line in head if line.startswith("connection:")] == ["connection: close"]
    assert not any(line.startswith("transfer-encoding") for line in head)


@pytest.mark.parametrize("headers", CONNECTIONS.values(), ids=CONNECTIONS)
async def test_a_stream_is_as_it_is_without_chunks_and_ends_with_its_connection(
    service: Lex, headers: bytes
) -> None:
    head, body = await answered(
        service, b"POST /query HTTP/1.0\r\n" + headers + ASKED + b"\r\n" + QUERY
    )

    assert head[0] == "http/1.1 200 ok"
    assert_closing(head)
    events = parse(body)
    assert events[-1] == ("end", "")
    assert text_of(events)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/livez", 200),
        ("/", 200),
        ("/openapi.json", 200),
        ("/metrics", 200),
        ("/docs", 200),
        ("/nowhere", 404),
        ("/query?query=Hello&session_id=s2", 200),
    ],
)
@pytest.mark.parametrize("headers", CONNECTIONS.values(), ids=CONNECTIONS)
async def test_every_answer_says_once_that_it_closes(
    service: Lex, path: str, status: int, headers: bytes
) -> None:
    head, body = await answered(service, f"GET {path} HTTP/1.0\r\n".encode() + headers + b"\r\n")

    assert f" {status} " in head[0]
    assert_closing(head)
    lengths = [int(line[16:]) for line in head if line.startswith("content-length: ")]
    assert lengths in ([], [len(body.encode())])
    assert body


async def test_a_heartbeat_is_no_chunk_either() -> None:
    async with lex(heartbeat_seconds=0.05) as service:
        service.standin.script({"text": "late", "first_token_after": 0.3})
        head, body = await answered(service, b"POST /query HTTP/1.0\r\n" + ASKED + b"\r\n" + QUERY)

    assert_closing(head)
    assert body.startswith(": \n\n")
    assert text_of(parse(body)) == "late"


async def test_a_head_alone_has_no_body(service: Lex) -> None:
    head, body = await answered(service, b"HEAD /openapi.json HTTP/1.0\r\n\r\n")

    assert_closing(head)
    assert body == ""


async def test_nobody_is_told_to_continue(service: Lex) -> None:
    """An HTTP/1.0 client would take `100 Continue` for the answer."""
    head, _ = await answered(
        service, b"POST /query HTTP/1.0\r\nExpect: 100-continue\r\n" + ASKED + b"\r\n" + QUERY
    )

    assert head[0] == "http/1.1 200 ok"


@pytest.mark.parametrize("coding", [b"chunked", b"gzip, chunked", b"identity"])
async def test_transfer_codings_are_refused(service: Lex, coding: bytes) -> None:
    request = b"POST /query HTTP/1.0\r\nTransfer-Encoding: " + coding + b"\r\n\r\n0\r\n\r\n"

    head, _ = await answered(service, request)

    assert " 400 " in head[0]
    assert_closing(head)


async def test_a_stream_whose_client_asks_to_close_says_so_once(service: Lex) -> None:
    request = (
        b"POST /query HTTP/1.1\r\nHost: lex\r\nConnection: close\r\n" + ASKED + b"\r\n" + QUERY
    )

    head, _ = await answered(service, request)

    assert [line for line in head if line.startswith("connection:")] == ["connection: close"]
