"""Workers that die during a booking: it is neither repeated nor lost."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from infrastructure.groq_standin import Standin
from tests.processes import client_process, lex_process
from tests.serving import parse
from tests.waiting import waiting, within_limit

LEASE_SECONDS = 2.0
TURNS = 30


@pytest.fixture
async def standin() -> AsyncIterator[Standin]:
    async with Standin.serve() as running:
        yield running


def wednesday(weeks: int) -> str:
    """Return a future Wednesday, when every dealership is open."""
    day = datetime.now(UTC).date() + timedelta(weeks=weeks + 1)
    return (day + timedelta(days=(2 - day.weekday()) % 7)).isoformat()


def arguments(number: int) -> dict[str, Any]:
    """Arguments of a booking; each number gets its own slot."""
    week, hour = divmod(number, 6)
    return {
        "user_id": f"user-{number}",
        "dealership_id": "manhattan",
        "date": wednesday(week),
        "time": f"{10 + hour}:00",
        "car_model": "Apex GT",
    }


def booking(number: int, *, after_seconds: float = 0, then: dict[str, Any]) -> str:
    call = {"name": "schedule_appointment", "arguments": arguments(number)}
    asked = {"text": "One moment.", "first_token_after": after_seconds, "calls": [call]}
    return f"Book [[script {json.dumps({'rounds': [asked, then]})}]]"


async def read(
    client: httpx.AsyncClient, number: int, query: str, *, booked: asyncio.Event | None = None
) -> list[tuple[str, str]]:
    """Return the events of a stream, or those that arrived before it broke. Set `booked` when the
    output of a tool has arrived.
    """
    text = ""
    body = {"query": query, "session_id": f"s{number}"}
    try:
        async with client.stream("POST", "/query", json=body) as stream:
            async for part in stream.aiter_text():
                text += part
                if booked and "event: tool_output" in text and text.endswith("\n\n"):
                    booked.set()
    except httpx.TransportError:
        text = text[: text.rfind("\n\n") + 2]
    return parse(text)


async def ask_until_free(client: httpx.AsyncClient, number: int, query: str) -> None:
    async with waiting():
        while True:
            body = {"query": query, "session_id": f"s{number}"}
            answer = await client.post("/query", json=body)
            if answer.status_code == 200:
                assert parse(answer.text)[-1] == ("end", "")
                return
            assert answer.json()["code"] == "session_busy"
            await asyncio.sleep(0.1)


def outputs(events: list[tuple[str, str]]) -> list[dict[str, Any]]:
    return [json.loads(data)["output"] for event, data in events if event == "tool_output"]


async def history(client: httpx.AsyncClient, number: int) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]]
    messages = (await client.get(f"/sessions/s{number}/messages")).json()["messages"]
    return messages


async def profile(client: httpx.AsyncClient, number: int) -> list[str]:
    """Return the confirmations of a user, as seen from another session."""
    call = {"name": "fetch_user_profile", "arguments": {"user_id": f"user-{number}"}}
    query = f"Who am I? [[script {json.dumps({'rounds': [{'calls': [call]}, {'text': 'You.'}]})}]]"
    (output,) = outputs(await read(client, 1000 + number, query))
    return [drive["confirmation_id"] for drive in output.get("coming_test_drives", ())]


async def test_a_worker_that_was_frozen_books_nothing_for_turns_that_were_taken_over(
    standin: Standin, database_url: str
) -> None:
    variables = {
        "GROQ_BASE_URL": standin.url,
        "DATABASE_URL": database_url,
        "LEASE_SECONDS": str(LEASE_SECONDS),
    }
    async with lex_process(**variables) as frozen, lex_process(**variables) as other:
        # Long enough that all are asked before the first calls its tool, on a busy machine too.
        queries = [booking(n, after_seconds=5, then={"text": "Booked."}) for n in range(TURNS)]
        readings = [
            asyncio.create_task(read(frozen, number, query)) for number, query in enumerate(queries)
        ]
        await standin.stats.until(lambda stats: stats.open_streams == TURNS)
        os.kill(client_process(frozen).pid, signal.SIGSTOP)
        await asyncio.gather(*(ask_until_free(other, n, "Still there?") for n in range(TURNS)))

        os.kill(client_process(frozen).pid, signal.SIGCONT)
        streams = await asyncio.gather(*readings)
        booked = [await profile(other, number) for number in range(TURNS)]
        histories = [await history(other, number) for number in range(TURNS)]

    assert booked == [[]] * TURNS
    for events in streams:
        (output,) = outputs(events)
        assert output["error"]["code"] == "turn_closed"
        assert events[-1] == ("end", "")
    for messages in histories:
        assert [message["role"] for message in messages] == ["user", "user", "assistant"]


async def test_the_next_turn_knows_what_a_killed_worker_has_booked(
    standin: Standin, database_url: str
) -> None:
    variables = {
        "GROQ_BASE_URL": standin.url,
        "DATABASE_URL": database_url,
        "LEASE_SECONDS": str(LEASE_SECONDS),
    }
    query = booking(0, then={"text": "late", "first_token_after": 60})
    async with lex_process(**variables) as killed, lex_process(**variables) as other:
        booked = asyncio.Event()
        reading = asyncio.create_task(read(killed, 0, query, booked=booked))
        await standin.stats.until(lambda stats: stats.requests == 2)
        await within_limit(booked.wait())
        client_process(killed).kill()
        (shown,) = outputs(await reading)

        await ask_until_free(other, 0, "Is it booked?")
        asked = standin.stats.last_requests[-1].body["messages"]
        again = outputs(await read(other, 0, booking(0, then={"text": "It is."})))
        messages = await history(other, 0)
        confirmations = await profile(other, 0)

    call, output = messages[1:3]
    assert [message["role"] for message in messages[:4]] == ["user", "assistant", "tool", "user"]
    assert call["content"] == "One moment."
    assert call["tool_calls"][0]["arguments"] == arguments(0)
    assert output["output"] == shown
    sent_call, sent_output = asked[2:4]
    assert json.loads(sent_call["tool_calls"][0]["function"]["arguments"]) == arguments(0)
    assert json.loads(sent_output["content"]) == shown
    assert sent_output["tool_call_id"] == sent_call["tool_calls"][0]["id"]
    assert again == [shown]
    assert confirmations == [shown["confirmation_id"]]
