"""A client that is cut off repeatedly misses no event and gets none twice."""

import asyncio
import random
import re
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from itertools import cycle, repeat
from pathlib import Path

import httpx

from infrastructure.groq_standin import Standin
from tests.cutting import Cutter, anywhere, asked_and_resumed, cutting, turn_of
from tests.processes import NO_TLS, lex_process
from tests.serving import is_over, lex
from tests.waiting import waiting

ROUNDS = (
    {"calls": [{"name": "get_weather", "arguments": {"city": "Paris"}}]},
    {"text": "It is mild in Paris.\n\n- and\n- so\n- on " * 5, "tokens_per_second": 30},
)


async def asked(client: httpx.AsyncClient, session_id: str) -> tuple[str, str]:
    """Ask, and disconnect after the opening frame; return the turn and the stream so far."""
    body = {"query": "Weather?", "session_id": session_id, "resume": True}
    async with client.stream("POST", "/query", json=body) as stream:
        return stream.headers["x-turn-id"], await anext(stream.aiter_text())


async def test_a_stream_that_is_cut_at_a_hundred_places_equals_the_uncut_one() -> None:
    chance = random.Random(7)  # noqa: S311 - not used for secrets
    async with (
        lex() as service,
        cutting(service.url, anywhere(chance, up_to=500)) as cutter,
        httpx.AsyncClient(base_url=cutter.url, verify=NO_TLS) as client,
    ):
        service.standin.script(*ROUNDS, times=None)

        joined = await read_until_cut(
            [cutter], repeat(client), service.standin, streams=15, times=100
        )

        assert joined == await replayed(service.client, joined)
        assert service.standin.stats.requests == 2 * len(joined), "nothing was asked twice"


async def test_a_stream_that_is_cut_and_resumed_on_another_worker_equals_the_uncut_one(
    tmp_path: Path,
) -> None:
    chance = random.Random(7)  # noqa: S311 - not used for secrets
    async with Standin.serve() as standin, AsyncExitStack() as stack:
        standin.script(*ROUNDS, times=None)
        variables = {
            "GROQ_BASE_URL": standin.url,
            "DATABASE_URL": f"sqlite:///{tmp_path}/lex.db",
            "HEARTBEAT_SECONDS": "0.02",
        }
        workers = [await stack.enter_async_context(lex_process(**variables)) for _ in range(2)]
        cutters, ways = [], []
        for worker in workers:
            cuts = anywhere(chance, up_to=500)
            cutters.append(await stack.enter_async_context(cutting(str(worker.base_url), cuts)))
            client = httpx.AsyncClient(base_url=cutters[-1].url, timeout=30, verify=NO_TLS)
            ways.append(await stack.enter_async_context(client))

        joined = await read_until_cut(cutters, cycle(ways), standin, streams=30, times=50)

        assert joined == await replayed(workers[1], joined)
        assert standin.stats.requests == 2 * len(joined), "nothing was asked twice"


async def read_until_cut(
    cutters: Sequence[Cutter],
    ways: Iterator[httpx.AsyncClient],
    standin: Standin,
    *,
    streams: int,
    times: int,
) -> list[str]:
    """Run many streams at once, and join what their clients got.

    Repeat until each cutter has cut often enough while turns ran. How many rounds that takes
    depends on the machine.
    """
    joined: list[str] = []
    cuts = [0] * len(cutters)
    while min(cuts) <= times:
        before = [cutter.times for cutter in cutters]
        sessions = [f"s{len(joined) + number}" for number in range(streams)]
        reading = asyncio.gather(*(asked_and_resumed(ways, "Weather?", each) for each in sessions))
        completed = 2 * (len(joined) + streams)
        await standin.stats.until(lambda stats: stats.completed == completed)  # noqa: B023 - awaited here
        cuts = [
            sofar + cutter.times - earlier
            for sofar, cutter, earlier in zip(cuts, cutters, before, strict=True)
        ]
        joined += await reading
    return joined


async def replayed(client: httpx.AsyncClient, streams: list[str]) -> list[str]:
    """Replay each of these turns in one request."""
    return [(await client.get(f"/turns/{turn_of(each)}/events")).text for each in streams]


async def test_a_turn_is_read_on_and_stopped_from_another_worker(tmp_path: Path) -> None:
    async with Standin.serve() as standin:
        standin.script(*ROUNDS)
        variables = {
            "GROQ_BASE_URL": standin.url,
            "DATABASE_URL": f"sqlite:///{tmp_path}/lex.db",
            "LEASE_SECONDS": "3",
            "HEARTBEAT_SECONDS": "0.3",
        }
        async with lex_process(**variables) as one, lex_process(**variables) as other:
            turn_id, opening = await asked(one, "s1")
            rest = (await other.get(f"/turns/{turn_id}/events")).text
            whole = (await one.get(f"/turns/{turn_id}/events")).text

            standin.script({"tokens": 10_000, "tokens_per_second": 20})
            body = {"query": "Go on", "session_id": "s2", "resume": True}
            async with one.stream("POST", "/query", json=body) as stream:
                slow_id = stream.headers["x-turn-id"]
                stopped = await other.delete(f"/turns/{slow_id}")
                async with waiting():
                    received = "".join([text async for text in stream.aiter_text()])

    without_heartbeats = re.sub(r"^: \n\n", "", rest, flags=re.MULTILINE)
    assert rest != without_heartbeats
    assert without_heartbeats == whole
    assert whole.startswith(opening)
    assert stopped.status_code == 204
    assert is_over(received)
