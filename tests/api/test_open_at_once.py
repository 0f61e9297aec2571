"""The limits on a client's open WebSockets and readers, and on its new sessions."""

import asyncio
import json
import socket as sockets
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.api.test_limits import FOREVER, counted, streaming
from tests.api.test_realtime import address, until_end
from tests.serving import Lex, lex, parse
from tests.waiting import waiting, within_limit


@asynccontextmanager
async def opened(service: Lex, number: int) -> AsyncIterator[list[ClientConnection]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(connect(address(service), proxy=None))
            for _ in range(number)
        ]


async def refused(service: Lex) -> InvalidStatus:
    with pytest.raises(InvalidStatus) as refusal:
        await connect(address(service), proxy=None)
    return refusal.value


async def until_there_is_room(service: Lex) -> ClientConnection:
    async with waiting():
        while True:
            try:
                return await connect(address(service), proxy=None)
            except InvalidStatus:
                await asyncio.sleep(0.01)


def reset(connection: sockets.socket) -> None:
    connection.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


async def test_one_websocket_too_many_is_refused_before_its_handshake(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with lex(max_sockets_per_client=2) as service, opened(service, 2) as (one, _):
        before = await counted(service, 'lex_rate_limited_total{limit="sockets"}')

        response = (await refused(service)).response
        await one.send("Hello")

        assert response.status_code == 429
        assert response.headers["Retry-After"] == "5"
        assert response.headers["Content-Type"] == "application/problem+json"
        assert json.loads(response.body or b"")["code"] == "too_many_requests"
        assert (await until_end(one))[-1]["type"] == "end"
        assert await counted(service, 'lex_rate_limited_total{limit="sockets"}') == before + 1
        assert [each for each in caplog.records if each.levelname == "ERROR"] == []


async def test_a_websocket_that_closes_makes_room() -> None:
    async with lex(max_sockets_per_client=1) as service:
        for _ in range(3):
            async with await until_there_is_room(service):
                await refused(service)


async def test_a_websocket_whose_connection_is_reset_makes_room() -> None:
    async with lex(max_sockets_per_client=1) as service:
        socket = await connect(address(service), proxy=None)
        connection = socket.transport.get_extra_info("socket")
        connection.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
        socket.transport.abort()

        async with await until_there_is_room(service):
            await refused(service)


async def test_handshakes_that_nobody_waits_for_hold_no_place() -> None:
    async with lex(max_sockets_per_client=2) as service:
        host, _, port = service.url.removeprefix("http://").partition(":")
        handshake = (
            f"GET /ws/sessions/s1 HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n"
        )
        for _ in range(50):
            connection = sockets.create_connection((host, int(port)))
            connection.sendall(handshake.encode())
            reset(connection)

        async with await until_there_is_room(service), await until_there_is_room(service):
            await refused(service)


async def test_a_silent_websocket_is_closed() -> None:
    async with lex(socket_idle_seconds=0.2) as service, opened(service, 1) as (socket,):
        await within_limit(socket.wait_closed())

    assert socket.close_code == 1001


async def test_a_websocket_is_not_silent_while_its_turn_runs() -> None:
    async with lex(socket_idle_seconds=0.2) as service, opened(service, 1) as (socket,):
        service.standin.script({"tokens": 20, "tokens_per_second": 20})
        await socket.send("Count")

        events = await until_end(socket)
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()

    assert events[-2]["data"]["outcome"] == "completed"
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1001


async def test_a_websocket_whose_client_speaks_now_and_then_stays() -> None:
    async with lex(socket_idle_seconds=1) as service, opened(service, 1) as (socket,):
        begun = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() < begun + 1.5:
            await socket.send('{"type": "stop"}')
            await asyncio.sleep(0.05)
        await socket.send("Hello")

        assert (await until_end(socket))[-1]["type"] == "end"


@asynccontextmanager
async def reading(service: Lex, turn_id: str, number: int) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for _ in range(number):
            request = service.client.stream("GET", f"/turns/{turn_id}/events")
            answer = await stack.enter_async_context(request)
            assert answer.status_code == 200
        yield


async def test_one_reader_too_many_is_refused_and_there_is_room_when_one_leaves() -> None:
    async with lex(max_readers_per_client=2) as service:
        service.standin.script(FOREVER, contains="Wait", times=None)
        before = await counted(service, 'lex_rate_limited_total{limit="readers"}')
        async with streaming(service, "s1") as own:
            turn_id = own.headers["x-turn-id"]
            async with reading(service, turn_id, 2):
                answer = await service.client.get(f"/turns/{turn_id}/events")
            async with waiting():
                while (await status_of_reader(service, turn_id)) != 200:
                    await asyncio.sleep(0.01)

        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "5"
        detail = answer.json()["detail"]
        assert detail == "You have too many readers open. Close one, or try again later."
        assert await counted(service, 'lex_rate_limited_total{limit="readers"}') > before


async def status_of_reader(service: Lex, turn_id: str) -> int:
    async with service.client.stream("GET", f"/turns/{turn_id}/events") as answer:
        return answer.status_code


async def test_the_streams_of_own_queries_are_not_among_the_readers() -> None:
    async with lex(max_readers_per_client=1) as service:
        service.standin.script(FOREVER, contains="Wait", times=None)
        async with (
            streaming(service, "s1") as own,
            streaming(service, "s2"),
            reading(service, own.headers["x-turn-id"], 1),
            streaming(service, "s3"),
        ):
            refusal = await service.client.get(f"/turns/{own.headers['x-turn-id']}/events")

    assert refusal.status_code == 429


async def test_a_client_that_joins_by_a_key_is_a_reader() -> None:
    async with lex(max_readers_per_client=1) as service:
        service.standin.script(FOREVER, contains="Wait", times=None)
        body, key = {"query": "Wait", "session_id": "s1"}, {"Idempotency-Key": "k"}
        async with AsyncExitStack() as stack:
            statuses = []
            for _ in range(3):
                request = service.client.stream("POST", "/query", json=body, headers=key)
                statuses.append((await stack.enter_async_context(request)).status_code)

    assert statuses == [200, 200, 429]


async def test_an_event_source_that_is_refused_keeps_its_place() -> None:
    async with lex(max_readers_per_client=1) as service:
        service.standin.script(FOREVER, contains="Wait", times=None)
        async with streaming(service, "s1") as own:
            turn_id = own.headers["x-turn-id"]
            async with reading(service, turn_id, 1):
                place = {"Last-Event-ID": f"{turn_id}-0"}
                answer = await service.client.get("/query", headers=place)

    assert [name for name, _ in parse(answer.text)] == ["error", "end"]
    assert "id:" not in answer.text


async def test_a_websocket_is_told_that_it_is_one_reader_too_many() -> None:
    async with lex(max_readers_per_client=1) as service, opened(service, 1) as (socket,):
        service.standin.script(FOREVER, contains="Wait", times=None)
        async with streaming(service, "s1") as own:
            turn_id = own.headers["x-turn-id"]
            async with reading(service, turn_id, 1):
                await socket.send(json.dumps({"type": "resume", "last_event_id": f"{turn_id}-0"}))
                refusal = json.loads(await socket.recv())

    assert refusal["data"]["code"] == "too_many_requests"
    assert refusal["data"]["retry_after"] == 5


async def test_a_reader_at_the_end_gets_204_even_without_a_free_slot() -> None:
    async with lex(max_readers_per_client=1) as service:
        service.standin.script(FOREVER, contains="Wait", times=None)
        read = await service.client.get("/query", params={"query": "Hello", "session_id": "s1"})
        last = [line[4:] for line in read.text.splitlines() if line.startswith("id: ")][-1]
        async with streaming(service, "s2") as own, reading(service, own.headers["x-turn-id"], 1):
            answer = await service.client.get("/query", headers={"Last-Event-ID": last})

    assert answer.status_code == 204


async def test_sessions_are_made_so_often_and_no_more() -> None:
    async with lex(rate_limit_sessions="2/minute") as service:
        answers = [await service.client.post("/sessions") for _ in range(3)]

        assert [answer.status_code for answer in answers] == [201, 201, 429]
        assert answers[0].headers["ratelimit"] == '"sessions-minute";r=1;t=60'
        assert_says_when(answers[2])
        query = {"query": "Hello", "session_id": "s1"}
        assert (await service.client.post("/query", json=query)).status_code == 200


def assert_says_when(answer: httpx.Response) -> None:
    assert 55 <= int(answer.headers["retry-after"]) <= 60
    assert answer.headers["ratelimit-policy"] == '"sessions-minute";q=2;w=60'
    assert answer.json()["detail"] == "You have created too many sessions. Try again later."
