"""When a client leaves, its turn ends, its upstream connection closes, its history is sound."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.fakes import Gates, echo
from tests.serving import Lex, lex
from tests.waiting import at_once, waiting

LEAVING_SECONDS = 0.25
"""The time within which the upstream must see its connection closed."""


async def until_ended(gates: Gates, *calls: str) -> None:
    while gates.ended != list(calls):
        await asyncio.sleep(0.005)


PIPELINED = b"GET /health HTTP/1.1\r\nhost: lex\r\n\r\n"


@asynccontextmanager
async def asking(
    service: Lex, query: str, session_id: str, *, then: bytes = b""
) -> AsyncIterator[asyncio.StreamReader]:
    """Connect a client by a bare socket, which closes at the end of the block."""
    reader, writer = await asyncio.open_connection(*service.url[7:].split(":"))
    body = json.dumps({"query": query, "session_id": session_id}).encode()
    writer.write(
        b"POST /query HTTP/1.1\r\nhost: lex\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%b" % (len(body), body)
    )
    if then:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(then)
    try:
        yield reader
    finally:
        writer.close()
        await writer.wait_closed()


def script(*rounds: dict[str, Any], word: str = "go") -> str:
    return f"{word} [[script {json.dumps({'rounds': rounds})}]]"


async def outcome_of(service: Lex, session_id: str) -> str:
    """Wait for the only turn of a session, and return its outcome."""
    async with waiting():
        while True:
            answer = await service.client.get(f"/sessions/{session_id}/events")
            if answer.status_code == 200 and answer.json()["events"][-1]["type"] == "system":
                return str(answer.json()["events"][-1]["data"]["outcome"])
            await asyncio.sleep(0.01)


async def test_leaving_before_the_first_chunk_closes_the_upstream_call() -> None:
    async with lex() as service:
        silence = script({"text": "late", "first_token_after": 60})
        async with asking(service, silence, "s1"):
            await service.standin.stats.until(lambda stats: stats.open_streams == 1)

        await at_once(
            service.standin.stats.until(lambda stats: stats.closed_before_first_byte == 1),
            seconds=LEAVING_SECONDS,
        )

        assert service.standin.stats.open_streams == 0
        assert await outcome_of(service, "s1") == "disconnected"


async def test_leaving_in_mid_stream_closes_the_upstream_call() -> None:
    async with lex() as service:
        slow = script({"text": "one two three four five six", "tokens_per_second": 4})
        async with asking(service, slow, "s1") as reader:
            await reader.readuntil(b"data: one")

        await at_once(
            service.standin.stats.until(lambda stats: stats.closed_in_mid_stream == 1),
            seconds=LEAVING_SECONDS,
        )

        assert await outcome_of(service, "s1") == "disconnected"
        messages = (await service.client.get("/sessions/s1/messages")).json()["messages"]
        assert messages[-1]["role"] == "assistant"
        assert messages[-1]["content"].startswith("one")
        assert len(messages[-1]["content"]) < len("one two three four five six")


async def test_leaving_behind_a_pipelined_request_closes_the_upstream_call_too() -> None:
    async with lex() as service:
        silence = script({"text": "late", "first_token_after": 60})
        async with asking(service, silence, "s1", then=PIPELINED):
            await service.standin.stats.until(lambda stats: stats.open_streams == 1)
            # The server must read the disconnect before it can act on it.
            await service.client.get("/health")

        await at_once(
            service.standin.stats.until(lambda stats: stats.closed_before_first_byte == 1),
            seconds=LEAVING_SECONDS,
        )

        assert await outcome_of(service, "s1") == "disconnected"


async def test_leaving_behind_an_unread_body_closes_the_upstream_call_too() -> None:
    async with lex(disconnect_grace_seconds=0.01) as service:
        silence = quote(script({"text": "late", "first_token_after": 60}))
        reader, writer = await asyncio.open_connection(*service.url[7:].split(":"))
        writer.write(f"GET /query?query={silence} HTTP/1.1\r\nhost: lex\r\n".encode())
        writer.write(b"content-length: 200000\r\n\r\n" + b"x" * 200_000)
        await reader.readuntil(b"\r\n\r\n")
        await service.standin.stats.until(lambda stats: stats.open_streams == 1)

        writer.transport.abort()

        await at_once(
            service.standin.stats.until(lambda stats: stats.closed_before_first_byte == 1),
            seconds=LEAVING_SECONDS,
        )


async def test_a_pipelined_request_is_answered_behind_the_stream() -> None:
    async with lex() as service:
        slow = script({"text": "one two three", "tokens_per_second": 20})
        async with asking(service, slow, "s1", then=PIPELINED * 3) as reader:
            stream = await reader.readuntil(b"0\r\n\r\n")
            answers = [await reader.readuntil(b'{"status":"healthy"}') for _ in range(3)]

        assert b"event: end" in stream
        assert all(answer.startswith(b"HTTP/1.1 200 OK") for answer in answers)


async def test_leaving_while_a_tool_runs_ends_it_and_lets_a_booking_complete() -> None:
    gates = Gates()
    rounds = (
        {
            "calls": [
                {"name": "wait", "arguments": {"word": "look"}},
                {"name": "book", "arguments": {"word": "slot"}},
            ]
        },
        {"text": "never asked"},
    )
    async with lex(tools=(*gates.tools, echo)) as service:
        async with asking(service, script(*rounds), "s1") as reader:
            await reader.readuntil(b"event: tool_call")
            await gates.begun.wait()
        await at_once(until_ended(gates, "look cancelled"), seconds=LEAVING_SECONDS)
        gates.opened.set()

        assert await outcome_of(service, "s1") == "disconnected"
        assert gates.ended == ["look cancelled", "slot done"]
        assert service.standin.stats.requests == 1
        assert service.standin.stats.open_streams == 0
        messages = (await service.client.get("/sessions/s1/messages")).json()["messages"]
        outputs = {
            message["name"]: message["output"] for message in messages if "output" in message
        }
        assert outputs["book"] == {"word": "slot"}
        assert outputs["wait"]["error"]["code"] == "interrupted"


async def test_each_of_a_hundred_leavers_closes_its_upstream_call_at_once() -> None:
    chance = random.Random(7)  # noqa: S311 - not used for secrets
    silent = script({"text": "late", "first_token_after": 60})
    slow = script({"tokens": 1000, "tokens_per_second": 5})
    async with lex() as service:
        stats = service.standin.stats
        everybody_is_here = asyncio.Event()
        here = 100

        async def client(number: int) -> None:
            nonlocal here
            async with asking(service, silent if number % 2 else slow, f"s{number}"):
                await everybody_is_here.wait()
                await asyncio.sleep(chance.random() * 2)
            here -= 1
            left = here
            # Each remaining client has one open call. One more would be that of the client that
            # left.
            is_closed = stats.until(lambda stats: stats.open_streams <= left)
            await at_once(is_closed, seconds=LEAVING_SECONDS)

        clients = asyncio.gather(*(client(number) for number in range(100)))
        await stats.until(lambda stats: stats.open_streams == 100)
        everybody_is_here.set()
        await clients

        assert (stats.open_streams, stats.closed_early) == (0, 100)


async def test_a_hundred_who_leave_at_random_moments_harm_no_history(tmp_path: Path) -> None:
    chance = random.Random(7)  # noqa: S311 - not used for secrets
    look_up = {"name": "get_weather", "arguments": {"city": "Paris"}}
    rounds = (
        {"calls": [look_up], "first_token_after": 0.2},
        {"text": "It is mild in Paris at this time of the year.", "tokens_per_second": 10},
    )
    async with lex(database_url=f"sqlite:///{tmp_path}/lex.db") as service:

        async def client(number: int) -> None:
            await asyncio.sleep(chance.random() * 0.5)
            async with asking(service, script(*rounds), f"s{number}"):
                await asyncio.sleep(chance.random() * 1.5)

        await asyncio.gather(*(client(number) for number in range(100)))

        await service.standin.stats.until(lambda stats: stats.open_streams == 0)
        await assert_all_sound_and_free(service)


async def assert_all_sound_and_free(service: Lex) -> None:
    async with waiting():
        while (await service.client.get("/readyz")).json()["free_slots"] != 2000:
            await asyncio.sleep(0.01)
    sessions = 0
    for number in range(100):
        history = await service.client.get(f"/sessions/s{number}/messages")
        if history.status_code == 404:
            continue  # it left before its query was read
        sessions += 1
        assert_no_orphans(history.json()["messages"])
        events = await service.ask("Hello", session_id=f"s{number}")
        assert events[-1] == ("end", "")
    assert sessions > 50


def assert_no_orphans(messages: list[dict[str, Any]]) -> None:
    asked = [call["id"] for message in messages for call in message.get("tool_calls", [])]
    answered = [message["tool_call_id"] for message in messages if message["role"] == "tool"]
    assert sorted(asked) == sorted(answered)
