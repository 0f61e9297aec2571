"""A worker with a wrong clock serves normally, and deletes nothing."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backend.domain.conversation import now
from tests.scraping import scrape
from tests.serving import Lex, lex, text_of
from tests.waiting import waiting

FORTY_DAYS = timedelta(days=40)
KEPT: dict[str, Any] = {"event_log_hours": 24, "session_retention_days": 30}


def ahead() -> datetime:
    return now() + FORTY_DAYS


def behind() -> datetime:
    return now() - FORTY_DAYS


async def until_refused(service: Lex, is_refused: bool) -> None:
    """Wait until retention has checked the clock, within seconds of the start."""
    async with waiting():
        while (await scrape(service.client)).value("lex_retention_refused") != is_refused:
            await asyncio.sleep(0.5)  # parsing all metrics takes a twentieth of a second


@pytest.mark.parametrize("clock", [ahead, behind])
async def test_a_worker_whose_clock_is_wrong_forgets_nothing_of_anybody(
    database_url: str, clock: Any
) -> None:
    running = {"rounds": [{"text": "late", "first_token_after": 60}]}
    async with lex(database_url=database_url, **KEPT) as right:
        await until_refused(right, False)
        asked = await right.client.post("/query", json={"query": "Hello", "session_id": "s1"})
        body = {"query": f"Wait [[script {json.dumps(running)}]]", "session_id": "s2"}
        async with (
            right.client.stream("POST", "/query", json=body),
            lex(database_url=database_url, clock=clock, **KEPT) as wrong,
        ):
            await until_refused(wrong, True)
            log = await wrong.client.get(f"/turns/{asked.headers['x-turn-id']}/events")
            sessions = [await wrong.client.get(f"/sessions/s{number}") for number in (1, 2)]
            answer = await wrong.ask("Still there?", session_id="s1")

    assert log.status_code == 200
    assert [session.status_code for session in sessions] == [200, 200]
    assert text_of(answer)


@pytest.mark.parametrize("clock", [ahead, behind])
async def test_a_worker_whose_clock_is_wrong_stores_and_books_by_the_right_one(
    database_url: str, clock: Any
) -> None:
    day = datetime.now(UTC).date() + timedelta(days=7)
    wednesday = day + timedelta(days=(2 - day.weekday()) % 7)
    arguments = {
        "user_id": "123",
        "dealership_id": "manhattan",
        "date": wednesday.isoformat(),
        "time": "10:00",
        "car_model": "Apex GT",
    }
    call = {"name": "schedule_appointment", "arguments": arguments}
    script = {"rounds": [{"calls": [call]}, {"text": "Booked."}]}

    begun = now()
    async with lex(database_url=database_url, clock=clock) as service:
        events = await service.ask(f"Book [[script {json.dumps(script)}]]")
        session = (await service.client.get("/sessions/s1")).json()
        messages = (await service.client.get("/sessions/s1/messages")).json()["messages"]
        sent = service.standin.stats.last_requests[-1].body["messages"][0]["content"]
    ended = now()

    (output,) = [json.loads(data)["output"] for event, data in events if event == "tool_output"]
    assert "confirmation_id" in output, output
    times = [session["created_at"], session["last_turn_at"]]
    times += [message["created_at"] for message in messages]
    moments = [datetime.fromisoformat(each) for each in times]
    slack = timedelta(seconds=1)
    assert all(begun - slack <= moment <= ended + slack for moment in moments)
    assert f"{now():%Y-%m}" in sent or f"{now() - timedelta(hours=14):%Y-%m}" in sent
