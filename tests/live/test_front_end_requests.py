"""Requests that a front end makes on its own: turns of which only the cost is stored."""

import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from fastapi import Response

from backend.api.asking import AskingDep
from backend.domain.conversation import Message
from backend.main import create_app
from infrastructure.groq_standin import Standin
from tests.otlp import Collector, collecting
from tests.scraping import scrape
from tests.serving import parse, serve, settings, text_of

SECRET = "a very private car"
TURN = "invoke_agent lex"


async def ask_for_a_title(asking: AskingDep) -> Response:
    return await asking.ask(
        field="messages",
        query=f"Name a conversation about {SECRET}",
        session_id="s1",
        creates=True,
        resume=False,
        given=[Message.user(SECRET), Message.assistant("It is red.")],
        is_stored=False,
    )


async def test_only_its_cost_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        await check_only_its_cost_is_stored(tmp_path / "lex.db", collector, monkeypatch)


async def check_only_its_cost_is_stored(
    database: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")
    async with Standin.serve() as standin:
        app = create_app(
            settings(
                groq_base_url=standin.url,
                database_url=f"sqlite:///{database}",
                token_budget_client="1000000/day",
            )
        )
        app.post("/title")(ask_for_a_title)
        async with serve(app) as url, httpx.AsyncClient(base_url=url) as client:
            before = await scrape(client)  # it counts what all tests of this process did
            answer = await client.post("/title")
            turn_id = answer.headers["x-turn-id"]
            shown = await client.get(f"/turns/{turn_id}")
            session = await client.get("/sessions/s1")
            usage = (await client.get("/usage")).json()["days"]
            metrics = await scrape(client)
        request = standin.stats.last_requests[-1].body

    assert text_of(parse(answer.text))
    assert "x-session-id" not in answer.headers
    assert (shown.status_code, session.status_code) == (404, 404)
    assert [(day["purpose"], day["calls"]) for day in usage] == [("front_end", 1)]
    assert "tools" not in request
    assert [message["role"] for message in request["messages"]] == [
        "system",
        "user",
        "assistant",
        "user",
    ]
    assert len(request["messages"][0]["content"]) < 200
    with closing(sqlite3.connect(database)) as connection:
        for table in ("sessions", "turns", "turn_logs", "messages"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)  # noqa: S608 - constants
        [(used,)] = connection.execute("SELECT used FROM budget_windows").fetchall()
    assert used == usage[0]["input_tokens"] + usage[0]["output_tokens"]
    turns = [each.value("lex_turns_total", transport="sse") for each in (before, metrics)]
    assert turns[1] == turns[0] + 1
    assert collector.named(TURN)
    assert SECRET not in repr(collector.spans)
