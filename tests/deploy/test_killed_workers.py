"""A worker that is killed with `kill -9` blocks its sessions only until its lease expires."""

import asyncio
import json
import os
import signal
import time
from itertools import repeat
from pathlib import Path
from typing import Any

import httpx

from infrastructure.groq_standin import Standin
from tests.cutting import asked_and_resumed
from tests.deploy.servers import GUNICORN, children, deployed
from tests.processes import client_process, lex_process
from tests.scraping import scrape
from tests.serving import ids_of, parse, text_of, without_ids

LEASE_SECONDS = 2.0
SLACK_SECONDS = 3.0
"""Tolerance for fifty streams on a busy machine. A follower checks once per second."""

LOOK_UP: dict[str, Any] = {"calls": [{"name": "get_weather", "arguments": {"city": "Paris"}}]}
TALK: dict[str, Any] = {"tokens": 10_000, "tokens_per_second": 10}
THINK: dict[str, Any] = {"text": "late", "first_token_after": 60}
MOMENTS = ([THINK], [TALK], [LOOK_UP, THINK], [LOOK_UP, TALK])
"""When a turn is hit: before and during its first text, and the same after a tool call."""


def question(number: int) -> str:
    """A question whose script, which the stand-in plays, decides the moment."""
    return f"Question {number} [[script {json.dumps({'rounds': MOMENTS[number % 4]})}]]"


async def open_stream(client: httpx.AsyncClient, number: int, held: asyncio.Event) -> str:
    """Ask, and read until the connection breaks, which it must. Returns what arrived."""
    body = {"query": question(number), "session_id": f"s{number}", "resume": number < 25}
    received = ""
    try:
        async with client.stream("POST", "/query", json=body) as stream:
            received = f"{stream.headers['x-turn-id']}\n"
            held.set()
            async for text in stream.aiter_text():
                received += text
    except httpx.TransportError:
        return received
    raise AssertionError(f"the stream ended although its worker was killed: {received}")


async def seconds_until_free(client: httpx.AsyncClient, session_id: str) -> tuple[float, int]:
    """For how many seconds, and how often, the session's next question is refused."""
    begun, refused = time.monotonic(), 0
    while True:
        answer = await client.post("/query", json={"query": "Hello", "session_id": session_id})
        if answer.status_code == 200:
            assert parse(answer.text)[-1] == ("end", "")
            return time.monotonic() - begun, refused
        assert answer.json()["code"] == "session_busy"
        refused += 1
        await asyncio.sleep(0.2)


async def test_fifty_streams_of_a_killed_worker(tmp_path: Path) -> None:
    """Half of their readers resume the turn, the others just ask again."""
    variables = {
        "DATABASE_URL": f"sqlite:///{tmp_path}/lex.db",
        "LEASE_SECONDS": str(LEASE_SECONDS),
    }
    async with Standin.serve() as standin:
        variables["GROQ_BASE_URL"] = standin.url
        async with lex_process(**variables) as one, lex_process(**variables) as other:
            held = [asyncio.Event() for _ in range(50)]
            readings = asyncio.gather(
                *(open_stream(one, number, event) for number, event in enumerate(held))
            )
            await asyncio.gather(*(event.wait() for event in held))
            await standin.stats.until(lambda stats: stats.open_streams == 50)
            await asyncio.sleep(LEASE_SECONDS)  # longer than a lease that is not renewed

            client_process(one).kill()
            killed = time.monotonic()
            received = await readings
            turns = [text.partition("\n")[0] for text in received]
            rest, freed = await asyncio.gather(
                asyncio.gather(*(come_back(other, turn) for turn in turns[:25])),
                asyncio.gather(*(seconds_until_free(other, f"s{n}") for n in range(25, 50))),
            )
            told_after = time.monotonic() - killed
            read = [await come_back(other, turn, "lost-2") for turn in turns[:25]]
            again = [await seconds_until_free(other, f"s{number}") for number in range(25)]
            histories = [await history(other, f"s{number}") for number in range(50)]
            ended = [(await other.get(f"/turns/{turn}")).json() for turn in turns]
            counted = await scrape(other)

    assert told_after < LEASE_SECONDS + SLACK_SECONDS
    assert all(refused for _, refused in freed), "a session was not blocked at first"
    assert max(seconds for seconds, _ in freed) < LEASE_SECONDS + SLACK_SECONDS
    assert read == [""] * 25, "events came after the last one"
    assert {refused for _, refused in again} == {0}
    for turn, stream in zip(turns, rest, strict=False):
        assert ids_of(stream) == [f"{turn}-1", f"{turn}-lost-1", f"{turn}-lost-2"]
        (error, data), end = parse(without_ids(stream))
        assert (error, json.loads(data)["code"], end) == ("error", "worker_lost", ("end", ""))
    for number, messages in enumerate(histories):
        roles = [message["role"] for message in messages]
        assert roles == ["user", "user", "assistant"], "a question or an output is missing"
        assert messages[0]["content"] == question(number)
    assert {(turn["outcome"], turn["error_code"]) for turn in ended} == {("failed", "worker_lost")}
    assert counted.value("lex_turns_lost_total") == 50


async def come_back(client: httpx.AsyncClient, turn_id: str, place: str = "1") -> str:
    headers = {"Last-Event-ID": f"{turn_id}-{place}"}
    return (await client.get(f"/turns/{turn_id}/events", headers=headers)).text


async def history(client: httpx.AsyncClient, session_id: str) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]]
    messages = (await client.get(f"/sessions/{session_id}/messages")).json()["messages"]
    return messages


async def test_of_two_workers_behind_one_address_one_is_killed(
    standin: Standin, tmp_path: Path
) -> None:
    """Its readers reconnect to the same address; readers of the other worker notice nothing."""
    words = " ".join(str(number) for number in range(40))
    standin.script({"text": words, "tokens_per_second": 10}, times=None)
    lease = {"LEASE_SECONDS": str(LEASE_SECONDS)}

    async with (
        deployed(GUNICORN, standin, tmp_path, **lease) as service,
        asyncio.TaskGroup() as tasks,
    ):
        readings = [
            tasks.create_task(asked_and_resumed(repeat(service.client), "Count", f"s{number}"))
            for number in range(50)
        ]
        await standin.stats.until(lambda stats: stats.open_streams == 50)
        await asyncio.sleep(1)
        os.kill(service.workers[0], signal.SIGKILL)
        streams = await asyncio.gather(*readings)
        workers = children(service.process.pid)

    told = [stream for stream in streams if '"worker_lost"' in stream]
    whole = [stream for stream in streams if stream not in told]
    assert 0 < len(told) == standin.stats.closed_early < 50
    assert all(text_of(parse(without_ids(stream))) == words for stream in whole)
    for stream in told:
        places = [id_.partition("-")[2] for id_ in ids_of(stream)]
        assert places == [*map(str, range(len(places) - 2)), "lost-1", "lost-2"]
        assert words.startswith(text_of(parse(without_ids(stream))))
        assert [name for name, _ in parse(without_ids(stream))][-2:] == ["error", "end"]
    assert len(workers) == 2, "the arbiter has not replaced the worker"
