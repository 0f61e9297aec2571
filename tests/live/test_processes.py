"""The service as separate processes: restarts, several workers, failing start-ups."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from infrastructure.groq_standin import Standin
from infrastructure.ports import free_port
from tests.processes import NO_TLS, client_process, ended, lex_process, process, ready
from tests.serving import parse, text_of
from tests.waiting import waiting, within_limit

UVICORN = ("-m", "uvicorn", "backend.main:app", "--port", "0")


@pytest.fixture
async def standin() -> AsyncIterator[Standin]:
    async with Standin.serve() as running:
        yield running


async def ask(client: httpx.AsyncClient, query: str, session_id: str) -> list[tuple[str, str]]:
    answer = await client.post("/query", json={"query": query, "session_id": session_id})
    assert answer.status_code == 200, answer.text
    return parse(answer.text)


def outputs(events: list[tuple[str, str]]) -> list[dict[str, Any]]:
    return [json.loads(data)["output"] for event, data in events if event == "tool_output"]


async def test_a_booking_over_three_turns_survives_a_restart(
    standin: Standin, tmp_path: Path
) -> None:
    variables = {"GROQ_BASE_URL": standin.url, "DATABASE_URL": f"sqlite:///{tmp_path}/lex.db"}
    day = weekday()

    async with lex_process(**variables) as client:
        (slots,) = outputs(await ask(client, f"Which slots are free in Manhattan on {day}?", "s1"))
    async with lex_process(**variables) as client:
        events = await ask(client, "Book the Apex GT at 10 for user 123", "s1")
        (booking,) = outputs(events)
    async with lex_process(**variables) as client:
        (address,) = outputs(await ask(client, "What is the address?", "s1"))
        history = (await client.get("/sessions/s1/messages")).json()["messages"]
        (again,) = outputs(await ask(client, f"Which slots are free in Manhattan on {day}?", "s2"))
        (profile,) = outputs(await ask(client, "Show me the profile of user 123", "s3"))

    assert "10:00" in slots["slots"]
    assert booking["date"] == day
    assert booking["car_model"] == "Apex GT"
    assert str(booking["confirmation_id"]) in text_of(events)
    assert address["dealership_id"] == "manhattan"
    assert [message["role"] for message in history] == [
        "user",
        "assistant",
        "tool",
        "assistant",
    ] * 3
    assert "10:00" not in again["slots"]
    assert booking["confirmation_id"] in json.dumps(profile)


def weekday() -> str:
    """Return a future Wednesday, when every dealership is open."""
    day = datetime.now(UTC).date() + timedelta(days=7)
    while day.weekday() != 2:
        day += timedelta(days=1)
    return day.isoformat()


async def test_of_two_hundred_who_want_one_slot_through_two_workers_one_gets_it(
    standin: Standin, database_url: str
) -> None:
    variables = {"GROQ_BASE_URL": standin.url, "DATABASE_URL": database_url}
    day = weekday()

    async with lex_process(**variables) as one, lex_process(**variables) as other:
        streams = await asyncio.gather(
            *(
                ask((one, other)[user % 2], booking_script(f"user-{user}", day), f"s{user}")
                for user in range(200)
            )
        )

    booked = [output for events in streams for output in outputs(events)]
    confirmed = [output for output in booked if "confirmation_id" in output]
    refused = [output["error"] for output in booked if "error" in output]
    assert len(confirmed) == 1
    assert len(refused) == 199
    assert {error["code"] for error in refused} == {"slot_taken"}
    assert all(events[-1] == ("end", "") for events in streams)


def booking_script(user_id: str, day: str) -> str:
    arguments = {
        "user_id": user_id,
        "dealership_id": "manhattan",
        "date": day,
        "time": "10:00",
        "car_model": "Apex GT",
    }
    rounds = [
        {"calls": [{"name": "schedule_appointment", "arguments": arguments}]},
        {"text": "Well."},
    ]
    return f"Book [[script {json.dumps({'rounds': rounds})}]]"


async def test_one_command_starts_lex_and_a_stand_in_and_stops_both(tmp_path: Path) -> None:
    port = free_port()
    variables = {"GROQ_API_KEY": "", "DATABASE_URL": f"sqlite:///{tmp_path}/lex.db"}

    async with (
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30, verify=NO_TLS) as client,
        process("-m", "infrastructure.run", "--port", str(port), variables=variables) as running,
    ):
        await ready(client, running)
        readiness = (await client.get("/readyz")).json()
        events = await ask(client, "What is the weather in New York?", "test-session")
        running.terminate()
        await within_limit(running.wait())
        with pytest.raises(httpx.ConnectError):
            await client.get(readiness["upstream"])

    assert [model["name"] for model in readiness["models"]] == ["groq-standin"]
    assert [event for event, _ in events[:3]] == ["tool_use", "tool_call", "tool_output"]
    assert "34°C" in text_of(events)


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"GROQ_API_KEY": ""}, "lex: GROQ_API_KEY is not set."),
        ({"PROVIDER": "grok"}, "lex: PROVIDER cannot be used: set it to one of: groq."),
        ({"MAX_ROUNDS": "many"}, "lex: MAX_ROUNDS cannot be used: "),
        ({"GROQ_BASE_URL": "https://api.groq.com/openai/v1"}, "lex: GROQ_BASE_URL cannot be used:"),
        ({"WEATHER_PROVIDER": "crystal-ball"}, "lex: WEATHER_PROVIDER cannot be used: "),
    ],
)
async def test_a_wrong_environment_stops_the_start_with_one_line(
    variables: dict[str, str], line: str, tmp_path: Path
) -> None:
    variables = {"DATABASE_URL": f"sqlite:///{tmp_path}/lex.db", **variables}

    finished = await ended(*UVICORN, folder=tmp_path, **variables)

    assert finished.code == 1
    assert finished.stderr.startswith(line)
    assert finished.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+asyncpg://lex:hidden@127.0.0.1:9/lex",
        "postgresql://lex:hid@hidden@127.0.0.1:9/lex",
        "sqlite:////nowhere/at/all/lex.db",
        "mysql://lex:hidden@host/lex",
        "sqlite://",
    ],
)
async def test_a_database_url_that_is_wrong_is_told_in_one_line(url: str, tmp_path: Path) -> None:
    finished = await ended(*UVICORN, folder=tmp_path, DATABASE_URL=url)

    lines = [line for line in finished.stderr.splitlines() if "DATABASE_URL" in line]
    assert finished.code == 3
    assert len(lines) == 1
    assert "Traceback" not in finished.stderr
    assert "hidden" not in finished.stderr


async def test_a_server_that_is_told_to_stop_lets_its_streams_end(
    standin: Standin, tmp_path: Path
) -> None:
    variables = {"GROQ_BASE_URL": standin.url, "DATABASE_URL": f"sqlite:///{tmp_path}/lex.db"}
    standin.script({"text": "one two three four five six", "tokens_per_second": 4})
    received = ""

    async with lex_process(**variables) as client:
        body = {"query": "Count", "session_id": "s1"}
        async with client.stream("POST", "/query", json=body) as stream:
            async for text in stream.aiter_text():
                if not received:
                    client_process(client).terminate()
                received += text
    async with lex_process(**variables) as client:
        turn = (await client.get(f"/turns/{stream.headers['x-turn-id']}")).json()

    assert parse(received)[-1] == ("end", "")
    assert text_of(parse(received)) == "one two three four five six"
    assert turn["outcome"] == "completed"


async def test_a_session_is_held_while_its_worker_lives_and_free_when_it_was_killed(
    standin: Standin, tmp_path: Path
) -> None:
    variables = {
        "GROQ_BASE_URL": standin.url,
        "DATABASE_URL": f"sqlite:///{tmp_path}/lex.db",
        "LEASE_SECONDS": "1.5",
    }
    standin.script({"text": "never said", "first_token_after": 60})
    body = {"query": "Hello", "session_id": "s1"}

    async with lex_process(**variables) as one, lex_process(**variables) as other:
        async with one.stream("POST", "/query", json=body) as stream:
            turn_id = stream.headers["x-turn-id"]
            await asyncio.sleep(3)
            held = await other.post("/query", json=body)
            client_process(one).kill()
        async with waiting():
            while (answer := await other.post("/query", json=body)).status_code == 409:
                await asyncio.sleep(0.1)
        lost = (await other.get(f"/turns/{turn_id}")).json()
        history = (await other.get("/sessions/s1/messages")).json()["messages"]

    assert held.status_code == 409
    assert parse(answer.text)[-1] == ("end", "")
    assert (lost["outcome"], lost["error_code"]) == ("failed", "worker_lost")
    assert [message["role"] for message in history] == ["user", "user", "assistant"]


async def test_a_database_that_was_migrated_before_serves_without_migrating(
    standin: Standin, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/lex.db"
    async with process("-m", "backend.storage.sql.migrate", variables={"DATABASE_URL": url}) as it:
        migrated = await within_limit(it.wait())
    variables = {"GROQ_BASE_URL": standin.url, "DATABASE_URL": url, "MIGRATE_ON_START": "false"}

    async with lex_process(**variables) as client:
        events = await ask(client, "Hello", "s1")

    assert migrated == 0
    assert events[-1] == ("end", "")
