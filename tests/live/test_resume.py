"""A client that is cut off again and again misses nothing and sees nothing twice."""

import asyncio
import random
import re
from pathlib import Path

import httpx

from backend.replay import LOST
from infrastructure.groq_standin import Standin
from tests.processes import client_process, lex_process
from tests.serving import ids_of, lex, parse, without_ids

ROUNDS = (
    {"calls": [{"name": "get_weather", "arguments": {"city": "Paris"}}]},
    {"text": "It is mild in Paris.\n\n- and\n- so\n- on " * 8, "tokens_per_second": 120},
)


async def asked(client: httpx.AsyncClient, session_id: str) -> tuple[str, str]:
    """Asks, and leaves with the opening frame: the turn, and the stream so far."""
    body = {"query": "Weather?", "session_id": session_id, "resume": True}
    async with client.stream("POST", "/query", json=body) as stream:
        return stream.headers["x-turn-id"], await anext(stream.aiter_text())


async def cut_off_and_resumed(
    client: httpx.AsyncClient, session_id: str, chance: random.Random
) -> tuple[str, int]:
    """The joined events of a stream that is cut at random bytes, and how often it was."""
    turn_id, received = await asked(client, session_id)
    whole, cuts = complete(received), 0
    while not whole.endswith("event: end\ndata: \n\n"):
        headers = {"Last-Event-ID": ids_of(whole)[-1]}
        async with client.stream("GET", f"/turns/{turn_id}/events", headers=headers) as stream:
            received, size = "", chance.randint(40, 300)
            async for text in stream.aiter_text():
                received += text
                if len(received) > size:
                    break
        whole += complete(received[:size]).partition("\n\n")[2]
        cuts += 1
    return whole, cuts


def complete(received: str) -> str:
    """The frames that arrived whole."""
    return received[: received.rfind("\n\n") + 2]


async def test_a_stream_that_is_cut_a_hundred_times_equals_the_uncut_one() -> None:
    chance = random.Random(7)  # noqa: S311 - any places will do
    async with lex() as service:
        cuts = 0
        for number in range(8):
            service.standin.script(*ROUNDS)
            session_id = f"s{number}"

            joined, times = await cut_off_and_resumed(service.client, session_id, chance)

            turn_id = joined.partition("-")[0].removeprefix("id: ")
            uncut = (await service.client.get(f"/turns/{turn_id}/events")).text
            assert joined == uncut
            cuts += times
        requests = service.standin.stats.requests

    assert cuts > 100
    assert requests == 16, "nothing was asked twice"


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
                async with asyncio.timeout(15):
                    received = "".join([text async for text in stream.aiter_text()])

    without_heartbeats = re.sub(r"^: \n\n", "", rest, flags=re.MULTILINE)
    assert rest != without_heartbeats
    assert without_heartbeats == whole
    assert whole.startswith(opening)
    assert stopped.status_code == 204
    assert received.endswith("event: end\ndata: \n\n")


async def test_a_client_of_a_killed_worker_is_told_and_not_left_in_silence(tmp_path: Path) -> None:
    async with Standin.serve() as standin:
        standin.script({"tokens": 10_000, "tokens_per_second": 20}, times=None)
        variables = {
            "GROQ_BASE_URL": standin.url,
            "DATABASE_URL": f"sqlite:///{tmp_path}/lex.db",
            "LEASE_SECONDS": "1.5",
        }
        async with lex_process(**variables) as one, lex_process(**variables) as other:
            turns = [await asked(one, f"s{number}") for number in range(10)]
            client_process(one).kill()
            async with asyncio.timeout(15):
                streams = await asyncio.gather(
                    *(
                        other.get(
                            f"/turns/{turn_id}/events", headers={"Last-Event-ID": f"{turn_id}-40"}
                        )
                        for turn_id, _ in turns
                    )
                )
            histories = [
                (await other.get(f"/sessions/s{number}/messages")).json()["messages"]
                for number in range(10)
            ]

    for (turn_id, _), stream in zip(turns, streams, strict=True):
        assert stream.text.startswith(f"id: {turn_id}-40\nretry: 1000\n\n")
        assert f"id: {turn_id}-{LOST + 1}\nevent: error" in stream.text
        assert '"worker_lost"' in stream.text
        assert parse(without_ids(stream.text))[-1] == ("end", "")
    assert [[message["role"] for message in history] for history in histories] == [["user"]] * 10
