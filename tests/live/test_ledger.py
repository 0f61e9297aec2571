"""The ledger against an upstream that keeps its own, over the real SDK and a real socket."""

import asyncio
import random
from collections import Counter
from contextlib import suppress
from typing import Any

import httpx
import pytest

from backend.domain.usage import Usage
from tests.live.metered_upstream import MeteredUpstream
from tests.serving import Lex, lex
from tests.waiting import waiting

TURNS = 400
AT_ONCE = 20


async def a_turn(service: Lex, chance: random.Random, number: int) -> str | None:
    """Ask, and then read to the end, leave, or stop the turn. Return the turn's id."""
    body = {"query": "And now? ".ljust(chance.randrange(10, 400), "q"), "resume": True}
    body["session_id"] = f"s{number % AT_ONCE}"
    fate = chance.random()
    turn_id: str | None = None
    with suppress(httpx.HTTPError):
        async with service.client.stream("POST", "/query", json=body) as stream:
            turn_id = stream.headers.get("x-turn-id")
            if fate < 0.7:
                await stream.aread()
                return turn_id
            await asyncio.sleep(chance.uniform(0, 0.1))
            if fate < 0.85:
                await service.client.delete(f"/turns/{turn_id}")
    return turn_id


def usage_of(shown: dict[str, Any]) -> Usage:
    return Usage(
        shown["input_tokens"],
        shown["output_tokens"],
        cached_input_tokens=shown["cached_input_tokens"],
        reasoning_tokens=shown["reasoning_tokens"],
    )


async def test_what_is_reported_is_exact_and_what_is_estimated_is_right_in_sum() -> None:
    chance = random.Random(5)  # noqa: S311 - no secret
    async with (
        MeteredUpstream.serve(seed=5) as upstream,
        lex(
            groq_base_url=upstream.url,
            summary_idle_seconds=0,
            disconnect_grace_seconds=0.05,
            chunk_flush_ms=1,
            model_name="first",
            model_fallbacks="second",
        ) as service,
    ):

        async def a_customer(of: int) -> list[str | None]:
            return [await a_turn(service, chance, n) for n in range(of, TURNS, AT_ONCE)]

        by_customer = await asyncio.gather(*map(a_customer, range(AT_ONCE)))
        await until_all_have_ended(service)
        turns = [
            (await service.client.get(f"/turns/{turn_id}")).json()
            for turn_ids in by_customer
            for turn_id in turn_ids
            if turn_id
        ]
        sessions = [
            (await service.client.get(f"/sessions/s{number}")).json() for number in range(AT_ONCE)
        ]
        total = (await service.client.get("/usage")).json()["total"]

    calls = [call for turn in turns for call in turn["calls"]]
    reported = Counter(usage_of(call) for call in calls if not call["is_estimated"])
    served = Counter(one.usage for one in upstream.served)
    assert reported <= served, "each report is that of one request"
    # Nobody can know whether a request that was given up before its response would be refused.
    given_up = [call for call in calls if call["is_estimated"] and not call["output_tokens"]]
    assert 0 <= len(calls) - len(upstream.served) <= len(given_up)

    really = sum((served - reported).elements(), Usage())
    assert really.total_tokens > 0.05 * total["input_tokens"], "many calls were abandoned"
    assert upstream.refused > 20
    assert total["estimated_tokens"] == pytest.approx(really.total_tokens, rel=0.05)

    assert total["calls"] == len(calls)
    for name in ("calls", "input_tokens", "output_tokens", "estimated_tokens"):
        for shown in (turns, sessions):
            assert sum(one["spent"][name] for one in shown) == total[name]


async def until_all_have_ended(service: Lex) -> None:
    async with waiting():
        while (await service.client.get("/readyz")).json()["free_slots"] != 2000:
            await asyncio.sleep(0.05)
