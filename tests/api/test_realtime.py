"""Features of WebSockets only: bare text, stop, several turns, close codes."""

import asyncio
import json
from typing import Any

import pytest
from structlog.testing import capture_logs
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.fakes import Gates
from tests.serving import Lex, lex
from tests.waiting import at_once, waiting


def address(service: Lex, session_id: str = "s1") -> str:
    return f"{service.url.replace('http', 'ws')}/ws/sessions/{session_id}"


async def until_end(socket: ClientConnection) -> list[dict[str, Any]]:
    events = [json.loads(await socket.recv())]
    while events[-1]["type"] != "end":
        events.append(json.loads(await socket.recv()))
    return events


async def test_bare_text_is_a_query_and_a_connection_holds_a_conversation(service: Lex) -> None:
    async with connect(address(service), proxy=None) as socket:
        await socket.send("What is the weather in Paris?")
        first = await until_end(socket)
        await socket.send("And in Tokyo?")
        second = await until_end(socket)

    assert [event["type"] for event in first[:3]] == ["tool_use", "tool_call", "tool_output"]
    assert first[0]["turn"] != second[0]["turn"]
    assert [event["id"] for event in first] == [
        f"{first[0]['turn']}-{number}" for number in range(1, len(first) + 1)
    ]
    assert (await service.client.get("/sessions/s1")).json()["turns"] == 2


async def test_stop_ends_the_turn(service: Lex) -> None:
    service.standin.script({"tokens": 1000, "tokens_per_second": 20})

    async with connect(address(service), proxy=None) as socket:
        await socket.send('{"type": "query", "query": "Count"}')
        await socket.recv()
        await socket.send('{"type": "stop"}')
        events = await until_end(socket)

    assert len(events) < 100
    await service.standin.stats.until(lambda stats: stats.closed_in_mid_stream == 1)


@pytest.mark.parametrize("has_ended", [False, True])
async def test_a_turn_of_another_session_can_be_neither_resumed_nor_stopped(
    service: Lex, has_ended: bool
) -> None:
    words = {"text": "one"} if has_ended else {"tokens": 1000, "tokens_per_second": 20}
    service.standin.script(words)
    async with (
        connect(address(service, "theirs"), proxy=None) as theirs,
        connect(address(service, "mine"), proxy=None) as mine,
    ):
        await theirs.send("Count")
        seen = [json.loads(await theirs.recv())]
        if has_ended:
            seen += await until_end(theirs)

        await mine.send(json.dumps({"type": "resume", "last_event_id": seen[-1]["id"]}))
        refusal = json.loads(await mine.recv())
        await mine.send('{"type": "stop"}')
        await mine.send("Hello")
        answer = await until_end(mine)

        assert refusal["data"]["code"] == "turn_not_found"
        assert "id" not in refusal
        assert {event["turn"] for event in answer}.isdisjoint({seen[0]["turn"]})
        outcome = (await service.client.get(f"/turns/{seen[0]['turn']}")).json()["outcome"]
        assert outcome == ("completed" if has_ended else None)


async def test_a_turn_that_was_read_ends_again_and_a_wrong_place_is_refused(service: Lex) -> None:
    service.standin.script({"text": "one"})
    async with connect(address(service, "s1"), proxy=None) as socket:
        await socket.send("Count")
        seen = await until_end(socket)
        turn_id = seen[-1]["turn"]

        told = []
        for place in (seen[-1]["id"], f"{turn_id}-{len(seen) + 1}", f"{turn_id}-lost-1"):
            await socket.send(json.dumps({"type": "resume", "last_event_id": place}))
            told.append(json.loads(await socket.recv()))
        await socket.send(json.dumps({"type": "resume", "last_event_id": f"{turn_id}-0"}))
        again = await until_end(socket)

    end, *refusals = told
    assert end == seen[-1]
    assert [refusal["data"]["code"] for refusal in refusals] == ["invalid_field"] * 2
    assert all("id" not in refusal for refusal in refusals)
    assert again == seen


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"type": "dance"}',
        "{}",
        '{"type": "query"}',
        '{"type": "query", "query": 5}',
        '{"type": "query", "query": "\\ud800"}',
        '{"type": "resume", "last_event_id": "x"}',
        '{"type": "resume", "last_event_id": "0123456789abcdef-1"}',
        "{" + "[" * 10_000,
        "  ",
    ],
)
async def test_a_senseless_message_is_refused_and_the_connection_stays(
    service: Lex, text: str
) -> None:
    async with connect(address(service), proxy=None) as socket:
        await socket.send(text if len(text) < 4000 else text[:4000])
        refusal = json.loads(await socket.recv())
        await socket.send("Hello")
        events = await until_end(socket)

    assert refusal["type"] == "error"
    assert refusal["data"]["code"] in ("invalid_field", "turn_not_found")
    assert events[-1]["type"] == "end"


async def test_a_message_may_have_as_many_bytes_as_a_body(service: Lex) -> None:
    question = '{"type": "query", "query": "Hello"}'

    async with connect(address(service), proxy=None) as socket:
        await socket.send(question.ljust(4096))
        events = await until_end(socket)

    assert events[-1]["type"] == "end"
    assert await closed_with(address(service), question.ljust(4097)) == 1009


async def closed_with(url: str, *messages: str | bytes) -> int:
    async with connect(url, proxy=None) as socket:
        try:
            for message in messages:
                await socket.send(message)
            await socket.recv()
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else 0
    raise AssertionError("it stayed open")


async def test_close_codes_say_why(service: Lex) -> None:
    assert await closed_with(address(service, "-bad")) == 1008
    assert await closed_with(address(service), "x" * 5000) == 1009
    assert await closed_with(address(service), b"bytes") == 1008
    async with lex(max_streams=1) as full:
        full.standin.script({"tokens": 1000, "tokens_per_second": 20})
        async with full.client.stream("POST", "/query", json={"query": "Count"}):
            assert await closed_with(address(full)) == 1013


async def test_one_free_slot_is_enough_for_a_conversation() -> None:
    async with lex(max_streams=1) as service, connect(address(service), proxy=None) as socket:
        await socket.send("Hello")
        events = await until_end(socket)

    assert events[-1]["type"] == "end"


async def test_a_client_that_leaves_leaves_nothing_behind() -> None:
    async with lex(disconnect_grace_seconds=0.1) as service:
        service.standin.script({"tokens": 1000, "tokens_per_second": 20}, times=None)
        for number in range(20):
            async with connect(address(service, f"s{number}"), proxy=None) as socket:
                await socket.send("Count")
                await socket.recv()

        await service.standin.stats.until(lambda stats: stats.closed_in_mid_stream == 20)

        assert (await service.client.get("/readyz")).json()["free_slots"] == 2000


async def test_leaving_while_nothing_is_said_closes_the_upstream_call() -> None:
    async with lex(disconnect_grace_seconds=0.1) as service:
        service.standin.script({"text": "late", "first_token_after": 60})
        async with connect(address(service), proxy=None) as socket:
            await socket.send("Hello")
            await service.standin.stats.until(lambda stats: stats.open_streams == 1)

        await at_once(
            service.standin.stats.until(lambda stats: stats.closed_before_first_byte == 1),
            seconds=5,
        )


async def test_a_client_that_leaves_while_its_turn_is_stopped_is_no_news(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gates = Gates()
    async with lex(tools=gates.tools) as service:
        service.standin.script({"calls": [{"name": "book", "arguments": {"word": "slot"}}]})
        with capture_logs() as said:
            async with connect(address(service), proxy=None) as socket:
                await socket.send("Book")
                await gates.begun.wait()
                await socket.send('{"type": "stop"}')
            gates.opened.set()
            async with waiting():
                while not [line for line in said if line["event"] == "connection_broke"]:
                    await asyncio.sleep(0.01)
            await service.client.get("/health")

    assert [line["log_level"] for line in said if line["event"] == "connection_broke"] == ["info"]
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
