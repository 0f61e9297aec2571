"""One `Idempotency-Key`, many times at once, on two workers that only share a database."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from infrastructure.groq_standin import Standin
from tests.postgres import PostgresServer
from tests.processes import NO_TLS, lex_process
from tests.serving import parse, without_ids
from tests.waiting import LIMIT_SECONDS

KEYS, TIMES = 40, 5


@pytest.fixture(params=["sqlite", "postgres"])
async def workers(
    request: pytest.FixtureRequest, standin: Standin, tmp_path: Path
) -> AsyncIterator[Sequence[httpx.AsyncClient]]:
    if request.param == "sqlite":
        async with two_workers(standin, f"sqlite:///{tmp_path}/lex.db") as both:
            yield both
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    with server.database() as url:
        async with two_workers(standin, url) as both:
            yield both


@pytest.fixture
async def standin() -> AsyncIterator[Standin]:
    async with Standin.serve() as running:
        yield running


@asynccontextmanager
async def two_workers(
    standin: Standin, database_url: str
) -> AsyncIterator[Sequence[httpx.AsyncClient]]:
    variables = {"GROQ_BASE_URL": standin.url, "DATABASE_URL": database_url}
    async with AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(lex_process(**variables)) for _ in range(2)]
        # New connections only: the server may close an idle one just when it is reused.
        limits = httpx.Limits(max_connections=None)
        clients = [
            httpx.AsyncClient(
                base_url=worker.base_url, limits=limits, timeout=LIMIT_SECONDS, verify=NO_TLS
            )
            for worker in workers
        ]
        yield [await stack.enter_async_context(client) for client in clients]


async def ask(client: httpx.AsyncClient, key: str, session_id: str = "") -> httpx.Response:
    """Ask a different question for each key."""
    body = {"query": f"Hello {key}", "session_id": session_id or key, "resume": True}
    return await client.post("/query", json=body, headers={"Idempotency-Key": key})


async def ask_all(
    workers: Sequence[httpx.AsyncClient], session_id: str = "", *, keys: int = KEYS
) -> dict[str, list[httpx.Response]]:
    """Send all requests at once, to either worker; return the answers by key."""
    asked = [(f"k{number % keys}", number // keys) for number in range(keys * TIMES)]
    answers = await asyncio.gather(
        *(ask(workers[time % len(workers)], key, session_id) for key, time in asked)
    )
    by_key = defaultdict(list)
    for (key, _), answer in zip(asked, answers, strict=True):
        by_key[key].append(answer)
    return by_key


async def test_each_key_asks_once_and_all_are_told_the_same(
    workers: Sequence[httpx.AsyncClient], standin: Standin
) -> None:
    by_key = await ask_all(workers)

    for answers in by_key.values():
        assert [answer.status_code for answer in answers] == [200] * TIMES
        assert len({answer.headers["x-turn-id"] for answer in answers}) == 1
        told = {tuple(parse(without_ids(answer.text))) for answer in answers}
        assert len(told) == 1
        names = [event for event, _ in told.pop()]
        assert (names[0], names[-1], "error" in names) == ("chunk", "end", False)
    assert standin.stats.requests == KEYS
    sessions = [(await workers[0].get(f"/sessions/{key}")).json() for key in by_key]
    assert Counter(session["turns"] for session in sessions) == {1: KEYS}


async def test_in_a_busy_session_all_are_refused_alike(
    workers: Sequence[httpx.AsyncClient], standin: Standin
) -> None:
    standin.script({"text": "never said", "first_token_after": 60})
    busy = {"query": "Think", "session_id": "busy"}

    async with workers[0].stream("POST", "/query", json=busy):
        by_key = await ask_all(workers, "busy", keys=3)

    for answers in by_key.values():
        assert [answer.status_code for answer in answers] == [409] * TIMES
        assert {answer.json()["code"] for answer in answers} == {"session_busy"}
