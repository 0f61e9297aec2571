"""Workers with a wrong clock. libfaketime shifts a worker's whole time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from infrastructure.groq_standin import Standin
from infrastructure.ports import free_port
from tests.processes import lex_process, process, ready
from tests.scraping import scrape
from tests.serving import parse
from tests.waiting import waiting

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
SESSIONS = 20


@asynccontextmanager
async def at_another_time(offset: str, **variables: str) -> AsyncIterator[httpx.AsyncClient]:
    """A worker whose clock is shifted by `offset`."""
    assert LIBRARIES, "faketime is missing: make system-deps"
    moved = {
        "LD_PRELOAD": str(LIBRARIES[0]),
        "FAKETIME": offset,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    port = free_port()
    # Not `lex_process`, which forks: LD_PRELOAD works only when a program is started.
    command = ("-u", "-m", "uvicorn", "backend.main:app", "--port", str(port))
    async with (
        process(*command, variables={**variables, **moved}) as running,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
    ):
        await ready(client, running)
        yield client


@pytest.mark.parametrize("offset", ["+40d", "+24h"])
async def test_a_worker_of_another_time_deletes_nothing(database_url: str, offset: str) -> None:
    async with Standin.serve() as standin:
        variables = {
            "GROQ_BASE_URL": standin.url,
            "DATABASE_URL": database_url,
            "EVENT_LOG_HOURS": "1",
            "SESSION_RETENTION_DAYS": "30",
        }
        async with lex_process(**variables) as right:
            turns = [await turn_of(right, number) for number in range(SESSIONS)]

            async with at_another_time(offset, **variables) as wrong:
                async with waiting():
                    while (await scrape(wrong)).value("lex_retention_refused") != 1:
                        await asyncio.sleep(0.1)
                there = [await right.get(f"/sessions/s{number}") for number in range(SESSIONS)]
                logs = [await right.get(f"/turns/{turn_id}/events") for turn_id in turns]

    assert {answer.status_code for answer in there} == {200}
    assert {answer.status_code for answer in logs} == {200}


async def turn_of(client: httpx.AsyncClient, number: int) -> str:
    body = {"query": "Hello", "session_id": f"s{number}"}
    answer = await client.post("/query", json=body)
    assert parse(answer.text)[-1] == ("end", "")
    return answer.headers["x-turn-id"]
