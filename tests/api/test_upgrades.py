"""Requests with `Upgrade`: each gets one answer, and its body is read."""

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.api.hostile import ONE_LOOP, attacked, exchange, service, statuses
from tests.raw import HANDSHAKE, wire
from tests.serving import Lex, lex

__all__ = ["attacked", "service"]

pytestmark = ONE_LOOP

UPGRADES = {
    "HTTP/2": b"Connection: Upgrade\r\nUpgrade: h2c\r\n",
    "HTTP/2 with settings": (
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    ),
    "HTTP/2 by another name": b"Connection: upgrade\r\nUpgrade: HTTP/2.0\r\n",
    "HTTP/2 in capitals": b"CONNECTION: UPGRADE\r\nUPGRADE: H2C\r\n",
    "TLS": b"Upgrade: TLS/1.0\r\nConnection: Upgrade\r\n",
    "a WebSocket without a key": b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
    "a WebSocket with a key": HANDSHAKE.partition(b"Host: localhost\r\n")[2],
    "a list": b"Connection: Upgrade\r\nUpgrade: h2c, websocket\r\n",
    "two lines": b"Connection: keep-alive\r\nConnection: Upgrade\r\nUpgrade: a\r\nUpgrade: b\r\n",
    "nothing": b"Connection: Upgrade\r\nUpgrade: \r\n",
}
TYPE = b"Content-Type: application/json\r\n"
LAST = b"GET /livez HTTP/1.1\r\nHost: lex\r\nConnection: close\r\n\r\n"


def request(
    body: bytes, upgrade: bytes, *, method: bytes = b"POST /query", is_chunked: bool = False
) -> tuple[bytes, bytes]:
    """Split an answer into head and body."""
    framing = b"Transfer-Encoding: chunked" if is_chunked else b"Content-Length: %d" % len(body)
    head = method + b" HTTP/1.1\r\nHost: lex\r\n" + TYPE + upgrade + framing + b"\r\n\r\n"
    return head, b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if is_chunked else body


async def in_two(service: Lex, head: bytes, body: bytes) -> bytes:
    """Send a head, later its body and one more request; return the answers."""
    async with wire(service) as line:
        await line.send(head)
        await service.client.get("/livez")  # when this is answered, the head has been read
        await line.send(body + LAST)
        return await line.rest()


@pytest.mark.parametrize("is_chunked", [False, True], ids=["whole", "in chunks"])
@pytest.mark.parametrize("upgrade", UPGRADES.values(), ids=UPGRADES)
async def test_an_upgrade_that_is_not_taken_is_ignored_and_the_body_is_read(
    service: Lex, upgrade: bytes, is_chunked: bool
) -> None:
    asked = json.dumps({"query": "What is the weather in Paris?"}).encode()
    head, body = request(asked, upgrade, is_chunked=is_chunked)

    at_once = await exchange(service, head + body + LAST, is_all=False)
    later = await in_two(service, head, body)

    for said in (at_once, later):
        assert statuses(said) == [200, 200]
        assert b"get_weather" in said
        assert said.endswith(b'{"status":"healthy"}')


SMUGGLED = (
    b"POST /query HTTP/1.1\r\nHost: lex\r\n" + TYPE + b"X-Forwarded-For: 203.0.113.9\r\n"
    b'Content-Length: 44\r\n\r\n{"query": "Hello", "session_id": "smuggled"}'
)
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("upgrade", UPGRADES.values(), ids=UPGRADES)
async def test_no_body_is_a_request(service: Lex, upgrade: bytes, method: str) -> None:
    line = f"{method} /sessions/smuggled/messages".encode()
    head, body = request(SMUGGLED, upgrade, method=line)

    said = await in_two(service, head, body)

    refused, last = statuses(said)
    assert 400 <= refused < 500
    assert last == 200
    assert (await service.client.get("/sessions/smuggled")).status_code == 404


async def test_a_tunnel_is_refused_and_what_it_brings_is_no_request(service: Lex) -> None:
    head, body = request(SMUGGLED, b"", method=b"CONNECT /query")

    said = await exchange(service, head + body, is_all=False)

    assert statuses(said) == [400]
    assert (await service.client.get("/sessions/smuggled")).status_code == 404


async def test_old_clients_do_not_upgrade(service: Lex) -> None:
    handshake = HANDSHAKE.replace(b"HTTP/1.1", b"HTTP/1.0").replace(b"/ws/sessions/s1", b"/livez")

    said = await exchange(service, handshake + b"\r\n", is_all=False)

    assert statuses(said) == [200]


async def test_requests_that_all_ask_for_an_upgrade_are_answered_in_turn(service: Lex) -> None:
    each = b"GET /livez HTTP/1.1\r\nHost: lex\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"

    said = await exchange(service, each * 500 + LAST, is_all=False)

    assert statuses(said) == [200] * 501


@pytest.mark.parametrize("offer", [b"websocket", b"WebSocket", b"h2c, websocket", b"websocket,h2c"])
async def test_a_handshake_still_opens_a_websocket(service: Lex, offer: bytes) -> None:
    async with wire(service) as line:
        await line.send(HANDSHAKE.replace(b"Upgrade: websocket", b"Upgrade: " + offer) + b"\r\n")
        answer = await line.head()

    assert answer.startswith(b"HTTP/1.1 101 ")
    assert answer.lower().count(b"upgrade: websocket") == 1


async def test_a_handshake_behind_a_request_does_not_answer_before_it(service: Lex) -> None:
    head, body = request(b'{"query": "Hello"}', b"")

    said = await exchange(service, head + body + HANDSHAKE + b"\r\n" + LAST, is_all=False)

    assert statuses(said) == [200, 404, 200]


@pytest_asyncio.fixture(loop_scope="module")
async def limited() -> AsyncIterator[Lex]:
    async with lex(rate_limit_client="2/day") as running:
        yield running


async def test_a_limit_counts_every_query(limited: Lex) -> None:
    asked = b'{"query": "Hello"}'

    said = [
        statuses(await in_two(limited, *request(asked, upgrade)))
        for upgrade in list(UPGRADES.values())[:3]
    ]

    assert said == [[200, 200], [200, 200], [429, 200]]
