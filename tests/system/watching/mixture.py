"""A mixture of well-behaved and other clients, and the endings of their turns."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from websockets.asyncio.client import connect

from tests.deploy.servers import Deployed
from tests.live.test_disconnect import script
from tests.serving import parse
from tests.system.watching.stage import LLAMA, SESSION_LIMIT, Stage

CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
"""The trace id and span id of a client that sends `traceparent`."""

Outcome = tuple[str, str]
"""An outcome and its transport."""


@dataclass
class Told:
    """Everything that clients know about the turns that they started."""

    ended: Counter[Outcome] = field(default_factory=Counter)
    turns: set[str] = field(default_factory=set)
    sessions: int = 0

    def session(self) -> str:
        self.sessions += 1
        return f"m{self.sessions}"


def call(name: str, **arguments: str) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


WEATHER = call("get_weather", city="Paris")
ADDRESS = call("get_dealership_address", dealership_id="manhattan")
UNKNOWN_ADDRESS = call("get_dealership_address", dealership_id="atlantis")
PROFILE = call("fetch_user_profile", user_id="123")

BUSY = {
    "kind": "status",
    "status": 429,
    "code": "rate_limit_exceeded",
    "headers": {"retry-after": "5"},
}
"""A busy upstream that reports no remaining budget, since a low one would fire its own alert.

All workers leave the model alone for these seconds, which must be over before Groq goes away."""

GOOD = [
    *(script({"text": f"{number} is good."}, word=f"Good {number}") for number in range(6)),
    script({"calls": [WEATHER]}, {"text": "Sunny."}, word="A tool"),
    script({"calls": [WEATHER, ADDRESS, PROFILE]}, {"text": "All of it."}, word="Three tools"),
    script({"calls": [UNKNOWN_ADDRESS]}, {"text": "Unknown."}, word="A tool that refuses"),
    script({"calls": [call("make_coffee")]}, {"text": "No."}, word="A tool that does not exist"),
    script({"calls": [call("get_weather")]}, {"text": "Where?"}, word="A tool asked wrongly"),
    script(
        {"text": "At last.", "fault": {"kind": "status", "status": 503, "times": 1}},
        word="A retry",
    ),
    script({"text": "Elsewhere.", "fault": {**BUSY, "model": LLAMA}}, word="A fallback"),
    script(
        {
            "text": "Rescued.",
            "fault": {
                "kind": "tool_use_failed",
                "failed_generation": json.dumps(WEATHER),
                "times": 1,
            },
        },
        {"text": "Rescued."},
        word="A call that Groq cannot read",
    ),
    script({"text": "Late.", "first_token_after": 1.2}, word="Heartbeats"),
]
"""Questions whose turns complete."""

SILENT = script({"text": "late", "first_token_after": 60})
SLOW = script({"tokens": 200, "tokens_per_second": 5})
LONG_TOOL = script({"calls": [WEATHER]}, {"text": "Sunny."})


async def mixture(stage: Stage) -> Told:
    told = Told()
    pair, single = stage.pair, stage.single
    async with asyncio.TaskGroup() as tasks:
        for query in GOOD:
            tasks.create_task(completes(pair, told, query))
        for query in (*GOOD[:3], GOOD[8]):
            tasks.create_task(completes(single, told, query))
        tasks.create_task(leaves(pair, told, SILENT, before="\n"))
        tasks.create_task(leaves(pair, told, SLOW, before="event: chunk"))
        tasks.create_task(leaves(single, told, LONG_TOOL, before="event: tool_call"))
        tasks.create_task(asks_too_often(pair, told))
        tasks.create_task(is_refused(pair))
        tasks.create_task(comes_back(pair, told))
        tasks.create_task(stops(pair, told))
        tasks.create_task(converses(pair, told))
        tasks.create_task(converses(single, told))
        tasks.create_task(is_called_in_a_trace(single, told))
    return told


@asynccontextmanager
async def client(service: Deployed) -> AsyncIterator[httpx.AsyncClient]:
    """A client with its own connection, so that all workers get a share."""
    async with httpx.AsyncClient(base_url=service.client.base_url, timeout=60) as own:
        yield own


async def ask(
    service: Deployed, query: str, session_id: str, **headers: str
) -> tuple[httpx.Response, list[tuple[str, str]]]:
    """Ask, and read the whole stream or the refusal."""
    body = {"query": query, "session_id": session_id}
    async with client(service) as own:
        answer = await own.post("/query", json=body, headers=headers)
    return answer, parse(answer.text) if answer.status_code == 200 else []


async def completes(service: Deployed, told: Told, query: str, **headers: str) -> None:
    answer, events = await ask(service, query, told.session(), **headers)
    assert answer.status_code == 200, answer.text
    assert "error" not in dict(events), events
    told.turns.add(answer.headers["x-turn-id"])
    told.ended["completed", "sse"] += 1


async def is_called_in_a_trace(service: Deployed, told: Told) -> None:
    trace, span = CALLER
    await completes(service, told, GOOD[0], traceparent=f"00-{trace}-{span}-01")


async def leaves(service: Deployed, told: Told, query: str, *, before: str) -> None:
    """A client leaves as soon as it has read this text."""
    body = {"query": query, "session_id": told.session()}
    async with client(service) as own, own.stream("POST", "/query", json=body) as stream:
        told.turns.add(stream.headers["x-turn-id"])
        async for line in stream.aiter_lines():
            if before in line + "\n":
                break
    told.ended["disconnected", "sse"] += 1


async def asks_too_often(service: Deployed, told: Told) -> None:
    session = told.session()
    for number in range(SESSION_LIMIT + 1):
        answer, _ = await ask(service, GOOD[0], session)
        assert answer.status_code == (200 if number < SESSION_LIMIT else 429), answer.text
        if answer.status_code == 200:
            told.turns.add(answer.headers["x-turn-id"])
            told.ended["completed", "sse"] += 1


async def is_refused(service: Deployed) -> None:
    async with client(service) as own:
        assert (await own.post("/query", json={"query": ""})).status_code == 422
        assert (await own.get("/sessions/nobody")).status_code == 404


async def comes_back(service: Deployed, told: Told) -> None:
    body = {"query": GOOD[1], "session_id": told.session(), "resume": True}
    async with client(service) as own:
        turn = (await own.post("/query", json=body)).headers["x-turn-id"]
        again = await own.get(f"/turns/{turn}/events", headers={"Last-Event-ID": f"{turn}-1"})
    assert again.status_code == 200
    told.turns.add(turn)
    told.ended["completed", "sse"] += 1


async def stops(service: Deployed, told: Told) -> None:
    body = {"query": SLOW, "session_id": told.session()}
    async with client(service) as own, own.stream("POST", "/query", json=body) as stream:
        turn = stream.headers["x-turn-id"]
        lines = stream.aiter_lines()
        while await anext(lines) != "event: chunk":
            pass
        async with client(service) as another:
            assert (await another.delete(f"/turns/{turn}")).is_success
        assert [line async for line in lines if line.startswith("event")][-1] == "event: end"
    told.turns.add(turn)
    told.ended["cancelled", "sse"] += 1


async def converses(service: Deployed, told: Told) -> None:
    url = f"{service.client.base_url}/ws/sessions/{told.session()}".replace("http", "ws", 1)
    async with connect(url, proxy=None) as socket:
        for query in (GOOD[0], GOOD[2]):
            await socket.send(query)
            event: dict[str, Any] = {"type": ""}
            while event["type"] != "end":
                event = json.loads(await socket.recv())
                assert event["type"] != "error", event
            told.turns.add(event["turn"])
            told.ended["completed", "websocket"] += 1
