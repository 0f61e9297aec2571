"""Each second of a turn has an owner: one fault of each party, and a mixture of all endings."""

import asyncio
import os
import random
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.telemetry.turn_clock import Part
from backend.tools.arguments import Arguments
from backend.tools.context import ToolContext
from backend.tools.registry import Output, tool
from tests.live.metered_upstream import MeteredUpstream
from tests.scraping import scrape
from tests.serving import Lex, lex
from tests.waiting import waiting

LONG = 0.6
"""Seconds of each staged wait."""

TURNS = int(os.environ.get("MIXTURE_TURNS", "300"))
AT_ONCE = 20


class Nothing(Arguments):
    """No arguments."""


class Done(Output):
    done: bool = True


@tool()
async def think(arguments: Nothing, context: ToolContext) -> Done:  # noqa: ARG001 - the form of a tool
    """Take a while."""
    await asyncio.sleep(LONG)  # the fault
    return Done()


@tool()
async def block(arguments: Nothing, context: ToolContext) -> Done:  # noqa: ARG001 - the form of a tool
    """Hold up the event loop, as no tool may."""
    time.sleep(LONG)  # noqa: ASYNC251 - the fault
    return Done()


@asynccontextmanager
async def measured(service: Lex) -> AsyncIterator[dict[Part, float]]:
    """Fill in the seconds of each part that turns in the block took, once they have ended."""
    seconds: dict[Part, float] = {}
    before = await scrape(service.client)
    yield seconds
    await until_all_have_ended(service)
    after = await scrape(service.client)
    for part in Part:
        name = "lex_turn_part_seconds_total"
        seconds[part] = after.value(name, part=part) - before.value(name, part=part)
    total = "gen_ai_invoke_agent_duration_seconds_sum"
    turns = after.value(total) - before.value(total)
    assert sum(seconds.values()) == pytest.approx(turns), "the parts add up to the turns"


async def until_all_have_ended(service: Lex) -> None:
    async with waiting():
        while (await service.client.get("/readyz")).json()["free_slots"] != 2000:
            await asyncio.sleep(0.05)


def assert_owner(seconds: dict[Part, float], owner: Part, *, at_least: float = LONG) -> None:
    others = {part: spent for part, spent in seconds.items() if part is not owner}
    assert seconds[owner] >= 0.9 * at_least, seconds
    assert max(others.values()) < 0.5 * at_least, seconds
    # A busy machine holds up the test itself. The clock sees a part of that as a stalled loop, and
    # shorter stalls stay with the part that waited.
    stalls = 0 if owner is Part.EVENT_LOOP else seconds[Part.EVENT_LOOP]
    assert seconds[Part.UNATTRIBUTED] < 0.02 * sum(seconds.values()) + stalls, seconds


SAYS = {"text": "Hello."}


def refused(status: int) -> dict[str, Any]:
    """Every model refuses its first call, and may be called again after a second."""
    wish = {"retry-after": "1"}
    return {**SAYS, "fault": {"kind": "status", "status": status, "headers": wish, "times": 3}}


ROUNDS: list[tuple[str, Part, list[dict[str, Any]]]] = [
    ("a slow first token", Part.MODEL, [{**SAYS, "first_token_after": LONG}]),
    ("slow tokens", Part.MODEL, [{"tokens": 12, "tokens_per_second": 10}]),
    (
        "a long queue",
        Part.QUEUE,
        [{**SAYS, "first_token_after": LONG, "usage": {"queue_time": LONG}}],
    ),
    ("a rate that is used up", Part.RATE_WAIT, [refused(429)]),
    ("an upstream that is down for a moment", Part.RATE_WAIT, [refused(503)]),
    ("a slow tool", Part.TOOLS, [{"calls": [{"name": "think", "arguments": {}}]}, SAYS]),
    (
        "two slow tools at once",
        Part.TOOLS,
        [{"calls": [{"name": "think", "arguments": {}}] * 2}, SAYS],
    ),
    ("a blocked loop", Part.EVENT_LOOP, [{"calls": [{"name": "block", "arguments": {}}]}, SAYS]),
]


@pytest.mark.parametrize(
    ("owner", "rounds"), [case[1:] for case in ROUNDS], ids=[case[0] for case in ROUNDS]
)
async def test_the_party_that_is_slow_owns_the_time(
    owner: Part, rounds: list[dict[str, Any]]
) -> None:
    async with lex(tools=[think, block]) as service, measured(service) as seconds:
        service.standin.script(*rounds)
        await service.ask("Hello?")

    assert_owner(seconds, owner)


async def test_a_locked_store_owns_the_time(tmp_path: Path) -> None:
    file = tmp_path / "lex.db"
    async with lex(database_url=f"sqlite:///{file}") as service, measured(service) as seconds:
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            asking = asyncio.create_task(service.ask("Hello?"))
            async with waiting():
                while (await service.client.get("/readyz")).json()["free_slots"] == 2000:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(LONG)  # the fault
            other.execute("ROLLBACK")
        await asking

    assert_owner(seconds, Part.STORE)


async def test_a_client_that_does_not_read_owns_the_time() -> None:
    text = {"text": "x" * 9_000_000, "characters_per_token": 100_000, "tokens_per_second": 40}
    body = {"query": "Hello?", "session_id": "s1"}
    async with lex(max_completion_bytes=10_000_000) as service, measured(service) as seconds:
        service.standin.script(text)
        async with service.client.stream("POST", "/query", json=body):
            await until_all_have_ended(service)

    # Until the buffers between us and the client are full, the turn waits for the model alone.
    assert seconds[Part.CLIENT] > LONG, seconds


async def test_the_mixture_adds_up_in_every_ending() -> None:
    chance = random.Random(7)  # noqa: S311 - no secret
    async with (
        MeteredUpstream.serve(seed=7) as upstream,
        lex(
            groq_base_url=upstream.url,
            summary_idle_seconds=0.1,
            disconnect_grace_seconds=0.05,
            model_fallbacks="second",
        ) as service,
        measured(service) as seconds,
    ):

        async def a_customer(number: int) -> None:
            for _ in range(TURNS // AT_ONCE):
                await a_turn(service, chance, number)

        await asyncio.gather(*map(a_customer, range(AT_ONCE)))

    assert seconds[Part.UNATTRIBUTED] < 0.02 * sum(seconds.values()), seconds
    assert seconds[Part.RATE_WAIT] > 0, seconds


async def a_turn(service: Lex, chance: random.Random, number: int) -> None:
    """Ask, and read to the end, leave, or stop the turn."""
    body = {"query": "And now?", "session_id": f"s{number}", "resume": chance.random() < 0.5}
    fate = chance.random()
    with suppress(httpx.HTTPError):
        async with service.client.stream("POST", "/query", json=body) as stream:
            if fate < 0.7:
                await stream.aread()
                return
            await asyncio.sleep(chance.uniform(0, 0.1))  # a customer who leaves at any moment
            if fate < 0.85:
                await service.client.delete(f"/turns/{stream.headers.get('x-turn-id')}")
