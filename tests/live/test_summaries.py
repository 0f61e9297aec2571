"""Summaries over the real SDK, by one worker, by several, and during a drain."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.agent.prompt import EARLIER
from infrastructure.groq_standin import Standin
from tests.deploy.servers import PLAIN, deployed
from tests.processes import lex_process
from tests.serving import Lex, lex, parse, text_of
from tests.waiting import waiting

TRANSCRIPT = "Customer:"
"""Text that only requests for a summary contain."""


@pytest.fixture
async def standin() -> AsyncIterator[Standin]:
    async with Standin.serve() as running:
        yield running


def transcripts(standin: Standin) -> list[str]:
    """Return the transcripts that the upstream has recently got."""
    queries = [seen.body["messages"][-1]["content"] for seen in standin.stats.last_requests]
    return [query for query in queries if query.startswith(TRANSCRIPT)]


async def shown(client: httpx.AsyncClient, session_id: str = "s1") -> dict[str, Any]:
    session: dict[str, Any] = (await client.get(f"/sessions/{session_id}")).json()
    return session


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    async with waiting():
        while not await holds():
            await asyncio.sleep(0.05)


async def until_summarized(client: httpx.AsyncClient, *session_ids: str) -> None:
    async def are_summarized() -> bool:
        return all([(await shown(client, each))["summary"] for each in session_ids])

    await eventually(are_summarized)


async def attempts(service: Lex) -> float:
    lines = (await service.client.get("/metrics")).text.splitlines()
    model = 'gen_ai_request_model="llama-3.3-70b-versatile"'
    wanted = f'lex_upstream_attempts_total{{{model},outcome="ok",purpose="summary"}} '
    (line,) = [line for line in lines if line.startswith(wanted)]
    return float(line.removeprefix(wanted))


async def test_a_session_that_went_quiet_shows_its_summary_and_its_duration() -> None:
    async with lex(summary_idle_seconds=0.5) as service:
        created = await service.client.post("/sessions")
        session_id = created.json()["session_id"]
        before = await shown(service.client, session_id)
        attempts_before = await attempts(service)
        await service.ask("What is the weather in New York?", session_id)
        await until_summarized(service.client, session_id)

        session = await shown(service.client, session_id)
        asked = service.standin.stats.last_requests[-1].body
        attempts_after = await attempts(service)

    assert (before["summary"], before["duration_seconds"]) == (None, None)
    assert "What is the weather in New York?" in session["summary"]
    assert 0 < session["duration_seconds"] < 10
    assert session["turns"] == 1
    assert "tools" not in asked
    assert asked["max_completion_tokens"] < 1000
    assert "34°C" in asked["messages"][-1]["content"]
    assert attempts_after == attempts_before + 1, "the turn's calls have another purpose"


async def test_a_summary_that_takes_long_holds_up_no_turn_and_is_not_stored_over_it() -> None:
    async with lex(summary_idle_seconds=0.5) as service:
        stale = {"text": "Stale", "first_token_after": 5}
        service.standin.script(stale, contains=TRANSCRIPT, times=1)
        await service.ask("Hello")
        await service.standin.stats.until(lambda stats: stats.open_streams == 1)

        async with asyncio.timeout(4):
            events = await service.ask("What is the weather in Paris?")
        await service.standin.stats.until(lambda stats: stats.open_streams == 0)
        await until_summarized(service.client, "s1")
        session = await shown(service.client)

    assert events[-1] == ("end", "")
    assert "Paris" in session["summary"]
    assert len(transcripts(service.standin)) == 2


async def test_a_failing_model_costs_turns_nothing_and_a_later_summary_is_stored() -> None:
    async with lex(summary_idle_seconds=0.25, model_fallbacks=()) as service:
        failure = {"fault": {"kind": "status", "status": 500}}
        service.standin.script(failure, contains=TRANSCRIPT, times=1)
        await service.ask("Hello")
        await service.standin.stats.until(lambda stats: stats.failed == 1)

        events = await service.ask("What is the weather in Paris?")
        await until_summarized(service.client, "s1")

    assert "error" not in [name for name, _ in events]
    assert len(transcripts(service.standin)) == 2


async def test_zero_seconds_are_never() -> None:
    async with lex(summary_idle_seconds=0) as service:
        await service.ask("Hello")
        await asyncio.sleep(1)

        assert (await shown(service.client))["summary"] is None
        assert service.standin.stats.requests == 1


async def test_two_workers_on_one_database_ask_for_each_summary_once(
    standin: Standin, database_url: str
) -> None:
    variables = {
        "GROQ_BASE_URL": standin.url,
        "DATABASE_URL": database_url,
        "SUMMARY_IDLE_SECONDS": "1",
    }
    sessions = [f"s{number}" for number in range(12)]
    slow = {"text": "Summed up.", "first_token_after": 0.1}
    standin.script(slow, contains=TRANSCRIPT, times=None)

    async with AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(lex_process(**variables)) for _ in range(2)]
        for number, session_id in enumerate(sessions):
            body = {"query": f"Hello from {session_id}.", "session_id": session_id}
            answer = await workers[number % 2].post("/query", json=body)
            assert parse(answer.text)[-1] == ("end", "")
        await until_summarized(workers[0], *sessions)
        await asyncio.sleep(1.5)  # long enough that both workers look again several times

    asked_for = sorted(each.splitlines()[0] for each in transcripts(standin))
    assert asked_for == sorted(f"{TRANSCRIPT} Hello from {each}." for each in sessions)


async def test_a_drain_ends_a_summary_at_once_and_begins_none(
    standin: Standin, tmp_path: Path
) -> None:
    standin.script({"text": "never", "first_token_after": 60}, contains=TRANSCRIPT, times=None)
    words = " ".join(map(str, range(20)))
    standin.script({"text": words, "tokens_per_second": 5}, contains="Count", times=None)
    log_secret = "a very private question"

    async with deployed(
        PLAIN, standin, tmp_path, SUMMARY_IDLE_SECONDS="0.5", LOG_LEVEL="DEBUG"
    ) as service:
        await service.client.post("/query", json={"query": log_secret, "session_id": "s1"})
        await standin.stats.until(lambda stats: stats.open_streams == 1)
        body = {"query": "Count", "session_id": "s2"}
        async with service.client.stream("POST", "/query", json=body) as stream:
            chunks = stream.aiter_text()
            received = await anext(chunks)
            # It becomes idle when the drain has begun, so no worker may pick it up.
            await service.client.post("/query", json={"query": "Hello", "session_id": "s3"})
            service.send(signal.SIGTERM)
            await standin.stats.until(lambda stats: stats.closed_early == 1)
            still_open = standin.stats.open_streams
            async for text in chunks:
                received += text
        await service.ended()
        log = service.log.read_text()

    assert still_open == 1
    assert text_of(parse(received)) == words
    assert len(transcripts(standin)) == 1
    assert log_secret not in log


async def test_what_a_leaving_worker_did_not_finish_its_successor_does(
    standin: Standin, tmp_path: Path
) -> None:
    variables = {
        "GROQ_BASE_URL": standin.url,
        "DATABASE_URL": f"sqlite:///{tmp_path}/lex.db",
        "SUMMARY_IDLE_SECONDS": "0.5",
    }
    unfinished = {"text": "never", "first_token_after": 60}
    standin.script(unfinished, contains=TRANSCRIPT, times=1)

    async with lex_process(**variables) as leaving:
        await leaving.post("/query", json={"query": "Hello", "session_id": "s1"})
        await standin.stats.until(lambda stats: stats.open_streams == 1)
    async with lex_process(**variables) as successor:
        await until_summarized(successor, "s1")

    assert len(transcripts(standin)) == 2


async def test_what_is_cut_from_a_long_session_stays_in_the_prompt() -> None:
    # Idle for so long that the first summary is that of the cut, on a busy machine too.
    async with lex(summary_idle_seconds=8, history_tokens=3_000) as service:
        await service.ask("Book a test drive at `manhattan`", "s1")
        requests: list[list[dict[str, Any]]] = []

        async def is_told() -> bool:
            await service.ask("Tell me more. ".ljust(1_500, "x"), "s1")
            requests.append(service.standin.stats.last_requests[-1].body["messages"])
            return f"{EARLIER}\n\nThe customer said: Book a test" in requests[-1][0]["content"]

        await eventually(is_told)

    prompt = requests[-1][0]["content"]
    assert prompt.index("## Today") < prompt.index(EARLIER)
    assert len(requests[-1]) < 2 * len(requests)
