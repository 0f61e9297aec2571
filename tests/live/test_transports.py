"""What a turn does is the same over every transport."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace

import httpx
import pytest
from websockets.exceptions import WebSocketException

from tests.cutting import anywhere, cutting
from tests.serving import Lex, lex
from tests.transports import Seen, ServerSentEvents, Transport, WebSockets

SLOW = {"text": "one two three four five six", "tokens_per_second": 20}


@pytest.fixture(params=[ServerSentEvents(), WebSockets()], ids=["sse", "websocket"])
def transport(request: pytest.FixtureRequest) -> Transport:
    chosen: Transport = request.param
    return chosen


@pytest.fixture
async def service() -> AsyncIterator[Lex]:
    async with lex(max_query_chars=100, disconnect_grace_seconds=0.3) as running:
        yield running


def said(events: list[Seen]) -> str:
    return "".join(data for event, data in events if event == "chunk")


async def test_an_answer_with_a_tool(service: Lex, transport: Transport) -> None:
    async with transport.ask(service, "What is the weather in Paris?", "s1") as reader:
        events = await reader.rest()

    assert events[0] == ("tool_use", "get_weather")
    assert events[1][0] == "tool_call"
    assert events[1][1]["arguments"] == {"city": "Paris"}
    assert events[2][0] == "tool_output"
    assert events[2][1]["output"]["city"] == "Paris"
    assert "Paris" in said(events)
    assert events[-1] == ("end", "")


async def test_an_upstream_that_fails(service: Lex, transport: Transport) -> None:
    service.standin.script({"fault": {"kind": "status", "status": 400}}, times=None)

    async with transport.ask(service, "Hello", "s1") as reader:
        error, end = await reader.rest()

    assert error[1]["code"] == "upstream_refused"
    assert end == ("end", "")


@pytest.mark.parametrize(("query", "code"), [("x" * 101, "invalid_field"), (" ", "invalid_field")])
async def test_a_query_that_cannot_be_asked(
    service: Lex, transport: Transport, query: str, code: str
) -> None:
    assert await transport.refused(service, query, "s1") == code

    async with transport.ask(service, "Hello", "s1") as reader:
        assert (await reader.rest())[-1] == ("end", "")


async def test_a_busy_session(service: Lex, transport: Transport) -> None:
    service.standin.script(SLOW)

    async with transport.ask(service, "Count", "s1") as reader:
        first = await reader.next()
        code = await transport.refused(service, "Me too", "s1")
        rest = await reader.rest()

    assert code == "session_busy"
    assert said([first, *rest]) == SLOW["text"]


async def test_a_reader_that_comes_back(service: Lex, transport: Transport) -> None:
    service.standin.script(SLOW)

    async with transport.ask(service, "Count", "s1") as reader:
        before = [await reader.next(), await reader.next()]
    async with transport.resume(service, reader.last_id, "s1") as again:
        after = await again.rest()

    assert said([*before, *after]) == SLOW["text"]
    assert service.standin.stats.requests == 1


async def test_a_reader_that_is_cut_off_again_and_again(service: Lex, transport: Transport) -> None:
    service.standin.script({"text": "one two three four " * 20, "tokens_per_second": 60})
    chance = random.Random(7)  # noqa: S311 - any places will do

    async with transport.ask(service, "Count", "s1") as reader:
        seen = [await reader.next()]
    async with (
        cutting(service.url, anywhere(chance, up_to=250)) as cutter,
        httpx.AsyncClient(base_url=cutter.url) as client,
    ):
        last_id, by_way_of_cuts = reader.last_id, replace(service, url=cutter.url, client=client)
        while seen[-1] != ("end", ""):
            with suppress(httpx.TransportError, WebSocketException, OSError, StopAsyncIteration):
                async with transport.resume(by_way_of_cuts, last_id, "s1") as again:
                    while seen[-1] != ("end", ""):
                        seen.append(await again.next())
                        last_id = again.last_id

    async with transport.resume(service, f"{reader.turn_id}-0", "s1") as uncut:
        assert seen == await uncut.rest()
    assert cutter.times > 5
    assert service.standin.stats.requests == 1


async def test_a_reader_that_stays_away(service: Lex, transport: Transport) -> None:
    service.standin.script({"tokens": 1000, "tokens_per_second": 20})

    async with transport.ask(service, "Count", "s1") as reader:
        await reader.next()
    await service.standin.stats.until(lambda stats: stats.closed_in_mid_stream == 1, seconds=5)

    turn = (await service.client.get(f"/turns/{reader.turn_id}")).json()
    assert turn["outcome"] == "disconnected"


async def test_a_turn_that_is_stopped(service: Lex, transport: Transport) -> None:
    service.standin.script({"tokens": 1000, "tokens_per_second": 20})

    async with transport.ask(service, "Count", "s1") as reader:
        first = await reader.next()
        await service.client.delete(f"/turns/{reader.turn_id}")
        rest = await reader.rest()

    messages = (await service.client.get("/sessions/s1/messages")).json()["messages"]
    assert messages[-1]["content"] == said([first, *rest])
    assert rest[-1] == ("end", "")


async def test_readers_of_both_kinds_see_the_same(service: Lex) -> None:
    service.standin.script(SLOW)

    async with ServerSentEvents().ask(service, "Count", "s1") as one:
        await one.next()
        start = f"{one.turn_id}-0"
        async with WebSockets().resume(service, start, "s1") as other:
            streams = await asyncio.gather(one.rest(), other.rest())

    assert streams[1][1:] == streams[0]
