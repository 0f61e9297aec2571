"""A turn does the same over every transport."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace

import httpx
import pytest
from websockets.exceptions import WebSocketException

from tests.cutting import anywhere, cutting
from tests.processes import NO_TLS
from tests.serving import Lex, lex
from tests.transports import Seen, ServerSentEvents, Transport, WebSockets
from tests.waiting import TIME_SCALE

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
    turn = (await service.client.get(f"/turns/{reader.turn_id}")).json()
    usage = turn["usage"]
    told = {
        "outcome": "completed",
        "finish_reason": "stop",
        "model": turn["model"],
        "rounds": 2,
        "usage": {
            "prompt_tokens": usage["input_tokens"],
            "completion_tokens": usage["output_tokens"],
            "total_tokens": usage["input_tokens"] + usage["output_tokens"],
        },
    }
    assert events[-2:] == [("outcome", told), ("end", "")]
    assert (turn["outcome"], turn["finish_reason"], turn["rounds"]) == ("completed", "stop", 2)
    assert usage["input_tokens"] > 0 < usage["output_tokens"]


async def test_an_upstream_that_fails(service: Lex, transport: Transport) -> None:
    service.standin.script({"fault": {"kind": "status", "status": 400}}, times=None)

    async with transport.ask(service, "Hello", "s1") as reader:
        error, outcome, end = await reader.rest()

    assert error[1]["code"] == "upstream_refused"
    assert outcome[1]["outcome"] == "failed"
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


@pytest.fixture
async def patient() -> AsyncIterator[Lex]:
    async with lex(disconnect_grace_seconds=30 * TIME_SCALE) as running:
        yield running


async def test_a_reader_that_is_cut_off_again_and_again(patient: Lex, transport: Transport) -> None:
    patient.standin.script({"text": "one two three four " * 50, "tokens_per_second": 60})
    chance = random.Random(7)  # noqa: S311 - not used for secrets
    longest = 500  # bytes per connection: the opening frame and an outcome must fit

    async with transport.ask(patient, "Count", "s1") as reader:
        seen = [await reader.next()]
    async with (
        cutting(patient.url, anywhere(chance, up_to=longest)) as cutter,
        httpx.AsyncClient(base_url=cutter.url, verify=NO_TLS) as client,
    ):
        last_id, by_way_of_cuts = reader.last_id, replace(patient, url=cutter.url, client=client)
        while seen[-1] != ("end", ""):
            with suppress(httpx.TransportError, WebSocketException, OSError, StopAsyncIteration):
                async with transport.resume(by_way_of_cuts, last_id, "s1") as again:
                    while seen[-1] != ("end", ""):
                        seen.append(await again.next())
                        last_id = again.last_id

    async with transport.resume(patient, f"{reader.turn_id}-0", "s1") as uncut:
        assert seen == await uncut.rest()
    assert cutter.times > 5
    assert patient.standin.stats.requests == 1


async def test_a_reader_that_stays_away(service: Lex, transport: Transport) -> None:
    service.standin.script({"tokens": 1000, "tokens_per_second": 20})

    async with transport.ask(service, "Count", "s1") as reader:
        await reader.next()
    await service.standin.stats.until(lambda stats: stats.closed_in_mid_stream == 1)

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
    (name, told), end = rest[-2:]
    assert (name, told["outcome"], told["finish_reason"]) == ("outcome", "cancelled", None)
    assert told["model"] == "groq-standin/llama-3.3-70b-versatile"
    assert end == ("end", "")


async def test_an_answer_that_is_cut(service: Lex, transport: Transport) -> None:
    service.standin.script({"text": "It is", "finish_reason": "length"})

    async with transport.ask(service, "Weather?", "s1") as reader:
        events = await reader.rest()

    assert said(events) == "It is"
    assert [event for event, _ in events][-2:] == ["outcome", "end"]
    told = events[-2][1]
    assert (told["outcome"], told["finish_reason"]) == ("completed", "length")
    session = (await service.client.get("/sessions/s1")).json()
    assert session["last_turn"] == {
        "turn_id": reader.turn_id,
        "outcome": "completed",
        "finish_reason": "length",
    }


async def test_readers_of_both_kinds_see_the_same(service: Lex) -> None:
    service.standin.script(SLOW)

    async with ServerSentEvents().ask(service, "Count", "s1") as one:
        await one.next()
        start = f"{one.turn_id}-0"
        async with WebSockets().resume(service, start, "s1") as other:
            streams = await asyncio.gather(one.rest(), other.rest())

    assert streams[1][1:] == streams[0]
