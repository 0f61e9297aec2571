"""Faults that happen one after the other, and the alerts that they must fire."""

import asyncio
import json
import os
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import dataclass

from tests.live.test_disconnect import script
from tests.prometheus import EVERY_SECONDS
from tests.system.watching.mixture import BUSY, GOOD, LONG_TOOL, SLOW, ask, client
from tests.system.watching.stage import LLAMA, OLDER, Stage


@dataclass(frozen=True)
class Fault:
    happens: Callable[[Stage], AbstractAsyncContextManager[None]]
    """Causes the fault while the block runs."""
    alerts: tuple[str, ...]


@asynccontextmanager
async def first_chunks_are_late(stage: Stage) -> AsyncIterator[None]:
    late = script({"text": "Late.", "first_token_after": 2.2})
    await asyncio.gather(*(ask(stage.pair, late, f"late{number}") for number in range(16)))
    yield


@asynccontextmanager
async def answers_are_slow(stage: Stage) -> AsyncIterator[None]:
    slow = script({"tokens": 8, "tokens_per_second": 6})
    await asyncio.gather(*(ask(stage.pair, slow, f"slow{number}") for number in range(16)))
    yield


@asynccontextmanager
async def most_requests_are_over_a_limit(stage: Stage) -> AsyncIterator[None]:
    body = {"query": GOOD[0], "session_id": "too-often"}
    async with client(stage.pair) as own:
        for _ in range(300):
            await own.post("/query", json=body)
    yield


@asynccontextmanager
async def a_model_is_retired(stage: Stage) -> AsyncIterator[None]:
    gone = {"kind": "model_decommissioned"}
    stage.standin.script({"text": "-", "fault": BUSY}, model=LLAMA, contains="Retired", times=None)
    stage.standin.script({"text": "-", "fault": gone}, model=OLDER, contains="Retired", times=None)
    answer, events = await ask(stage.pair, script({"text": "Here."}, word="Retired"), "retired")
    assert ("chunk", "Here.") in events, answer.text
    yield


@asynccontextmanager
async def little_is_left_at_groq(stage: Stage) -> AsyncIterator[None]:
    headers = {"x-ratelimit-limit-requests": "1000", "x-ratelimit-remaining-requests": "50"}
    await ask(stage.single, script({"text": "Nearly.", "headers": headers}), "budget")
    yield


@asynccontextmanager
async def a_call_is_large_and_not_cached(stage: Stage) -> AsyncIterator[None]:
    usage = {"prompt_tokens": 100_000_000, "prompt_cache_hit_tokens": 1000}
    # The model without a price must not answer.
    stage.standin.script({"text": "-", "fault": BUSY}, model=OLDER, contains="Dear", times=None)
    answer, events = await ask(stage.pair, script({"text": "Dear.", "usage": usage}), "dear")
    assert ("chunk", "Dear.") in events, answer.text
    yield


@asynccontextmanager
async def a_tool_does_not_answer(stage: Stage) -> AsyncIterator[None]:
    await asyncio.gather(*(ask(stage.single, LONG_TOOL, f"tool{number}") for number in range(6)))
    yield


@asynccontextmanager
async def the_loop_stands_still(stage: Stage) -> AsyncIterator[None]:
    for _ in range(12):
        stage.single.send(signal.SIGSTOP)
        await asyncio.sleep(0.4)
        stage.single.send(signal.SIGCONT)
        await asyncio.sleep(0.1)
    yield


@asynccontextmanager
async def groq_is_away(stage: Stage) -> AsyncIterator[None]:
    away = {"kind": "status", "status": 503}
    stage.standin.script({"text": "-", "fault": away}, contains="Away", times=None)
    failed = await asyncio.gather(
        *(ask(stage.single, "Away", f"away{number}") for number in range(20))
    )
    assert sum("error" in dict(events) for _, events in failed) >= 12
    refused = await asyncio.gather(
        *(ask(stage.single, "Away", f"still{number}") for number in range(20))
    )
    assert {json.loads(answer.text)["code"] for answer, _ in refused} == {"upstream_unavailable"}
    yield


@asynccontextmanager
async def a_worker_is_killed(stage: Stage) -> AsyncIterator[None]:
    started = len(stage.pair.lines("lex_started"))
    os.kill(stage.pair.workers[0], signal.SIGKILL)
    await stage.pair.until_said("lex_started", times=started + 1)
    yield


@asynccontextmanager
async def redis_is_gone(stage: Stage) -> AsyncIterator[None]:
    await stage.redis.kill()
    # A worker notices the fault when it counts a request.
    await asyncio.gather(*(ask(stage.pair, GOOD[0], f"uncounted{n}") for n in range(8)))
    yield


@asynccontextmanager
async def the_store_is_locked(stage: Stage) -> AsyncIterator[None]:
    with closing(sqlite3.connect(stage.single_store, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


@asynccontextmanager
async def a_worker_of_tomorrow_has_been_here(stage: Stage) -> AsyncIterator[None]:
    ahead = ("ahead", time.time() + 86400)
    with closing(sqlite3.connect(stage.single_store, isolation_level=None)) as other:
        other.execute("INSERT INTO workers (id, seen_at) VALUES (?, ?)", ahead)
        yield
        other.execute("DELETE FROM workers WHERE id = 'ahead'")


@asynccontextmanager
async def a_pod_leaves(stage: Stage) -> AsyncIterator[None]:
    """A pod drains, and cannot store the end of its last turn."""
    body = {"query": SLOW, "session_id": "leaving"}
    async with client(stage.pair) as own, own.stream("POST", "/query", json=body) as stream:
        assert stream.status_code == 200
        lines = stream.aiter_lines()
        while await anext(lines) != "event: chunk":
            pass
        with closing(sqlite3.connect(stage.pair_store, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            stage.pair.send(signal.SIGTERM)
            yield
            other.execute("ROLLBACK")
        assert [line async for line in lines if line.startswith("event")][-1] == "event: end"
    assert await stage.pair.ended() == 0


@asynccontextmanager
async def a_pod_is_gone(stage: Stage) -> AsyncIterator[None]:
    assert stage.pair.process.returncode is not None
    yield


@asynccontextmanager
async def nobody_is_left(stage: Stage) -> AsyncIterator[None]:
    stage.single.send(signal.SIGTERM)
    await stage.single.ended()
    # The last scrape before its end may still be on its way.
    await asyncio.sleep(2 * EVERY_SECONDS)
    yield


FAULTS = (
    # First, because the share of late timers falls with the age of the process.
    Fault(the_loop_stands_still, ("LexEventLoopLag",)),
    Fault(first_chunks_are_late, ("LexFirstChunkBurn",)),
    Fault(answers_are_slow, ("LexPaceBurn",)),
    Fault(most_requests_are_over_a_limit, ("LexCustomersThrottled",)),
    Fault(a_model_is_retired, ("LexModelRetired",)),
    Fault(little_is_left_at_groq, ("LexBudgetNearlyUsedUp",)),
    Fault(a_call_is_large_and_not_cached, ("LexCacheShareFallen", "LexCostHigh")),
    Fault(a_tool_does_not_answer, ("LexToolFailing",)),
    Fault(
        groq_is_away, ("LexBreakerOpen", "LexTurnsBurn", "LexTurnsRefused", "LexNoModelReachable")
    ),
    Fault(a_worker_is_killed, ("LexWorkersDie",)),
    Fault(redis_is_gone, ("LexRedisDown", "LexSharedLimitsLost")),
    Fault(the_store_is_locked, ("LexStoreDown",)),
    Fault(a_worker_of_tomorrow_has_been_here, ("LexRetentionRefused",)),
    Fault(a_pod_leaves, ("LexDrainLong",)),
    Fault(a_pod_is_gone, ("LexTargetDown",)),
    Fault(nobody_is_left, ("LexNoMetrics",)),
)
"""The faults in order: each starts from the state that earlier ones left. The last two end the
pods."""
