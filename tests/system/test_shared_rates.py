"""The rate of a model that workers share through a real Redis."""

import asyncio
import re
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from backend.domain.errors import StorageError
from backend.domain.rates import Place, RateFigure, RateNews, RateReport
from backend.storage.redis.rates import RedisRates
from tests.processes import client_process, lex_process
from tests.rate_limited import RateLimited, rate_limited
from tests.redis_cluster import AnyRedis
from tests.redis_server import RedisServer
from tests.waiting import waiting

MODEL = "openai/gpt-oss-120b"


@pytest.fixture
async def rates(any_redis: AnyRedis) -> AsyncIterator[RedisRates]:
    opened = RedisRates(any_redis.url)
    yield opened
    await opened.close()


@pytest.fixture
async def rates_of_server(redis: RedisServer) -> AsyncIterator[RedisRates]:
    opened = RedisRates(redis.url)
    yield opened
    await opened.close()


def report(
    *joined: tuple[str, float],
    spacing_seconds: float = 0.0,
    figures: Sequence[RateFigure] = (),
    left: Sequence[str] = (),
    waiting: int = 0,
    answered: int = 0,
    refused_seconds: float = 0.0,
    is_blocked: bool = False,
) -> RateReport:
    return RateReport(
        model=MODEL,
        spacing_seconds=spacing_seconds,
        figures=figures,
        joined=[Place(place, age_seconds) for place, age_seconds in joined],
        left=left,
        waiting=waiting,
        answered=answered,
        refused_seconds=refused_seconds,
        is_blocked=is_blocked,
    )


async def told(rates: RedisRates, worker: str, given: RateReport) -> RateNews:
    (news,) = await rates.exchange(worker, [given])
    return news


def tokens(remaining: int, age_seconds: float, limit: int | None = 8000) -> RateFigure:
    return RateFigure(
        kind="tokens", remaining=remaining, reset_seconds=7.5, limit=limit, age_seconds=age_seconds
    )


async def test_of_the_figures_of_all_workers_the_newest_counts(rates: RedisRates) -> None:
    await told(rates, "w1", report(figures=[tokens(100, 5.0)]))
    await told(rates, "w2", report(figures=[tokens(200, 2.0, None)]))
    await told(rates, "w1", report(figures=[tokens(300, 9.0)]))

    (figure,) = (await told(rates, "w3", report())).figures

    assert (figure.remaining, figure.limit, figure.reset_seconds) == (200, None, 7.5)
    assert figure.age_seconds == pytest.approx(2.0, abs=1)


async def test_each_model_has_its_own_state(rates: RedisRates) -> None:
    other = RateReport(model="other", spacing_seconds=0, figures=[tokens(1, 0)])

    news = await rates.exchange("w1", [report(), other])

    assert [len(each.figures) for each in news] == [0, 1]


async def test_turns_of_all_workers_pass_in_the_order_of_their_arrival(rates: RedisRates) -> None:
    blocked = report(("1", 4.0), ("2", 2.0), waiting=2, is_blocked=True)
    await told(rates, "w1", blocked)
    await told(rates, "w2", report(("1", 3.0), ("2", 1.0), waiting=2, is_blocked=True))
    order: list[str] = []
    async with waiting():
        while len(order) < 4:
            for worker in ("w2", "w1"):
                news = await told(rates, worker, report(spacing_seconds=0.3))
                order += [f"{worker} {place}" for place in news.passed]
            await asyncio.sleep(0.01)

    assert order == ["w1 1", "w2 1", "w1 2", "w2 2"]


async def test_turns_pass_one_gap_apart_whoever_looks(rates: RedisRates) -> None:
    joined = [(str(n), 100.0 - n) for n in range(6)]
    await told(rates, "w1", report(*joined, is_blocked=True))
    await told(rates, "w2", report(is_blocked=True))
    begun, passed = time.monotonic(), 0
    async with waiting():
        while passed < 6:
            await told(rates, "w2", report(spacing_seconds=0.2))
            passed += len((await told(rates, "w1", report(spacing_seconds=0.2))).passed)
            await asyncio.sleep(0.01)

    # The first may pass at once, and the clock may catch up on half a gap.
    assert time.monotonic() - begun >= 5 * 0.2 - 0.1


async def test_nobody_passes_while_any_worker_was_refused(rates: RedisRates) -> None:
    await told(rates, "w1", report(refused_seconds=60))

    news = await told(rates, "w2", report(("1", 0.0)))

    assert (list(news.passed), news.is_queued) == ([], True)
    assert news.refused_seconds == pytest.approx(60, abs=5)


async def test_calls_count_until_they_are_answered(rates: RedisRates) -> None:
    counts = [
        (await told(rates, "w1", given)).unanswered
        for given in (
            report(("1", 0.0), ("2", 0.0)),
            report(answered=1),
            report(answered=5),
        )
    ]

    assert counts == [2, 1, 0]


async def test_a_place_is_taken_once_and_can_be_given_up(rates: RedisRates) -> None:
    for _ in range(2):
        await told(rates, "w1", report(("1", 0.0), ("2", 0.0), is_blocked=True))

    news = await told(rates, "w1", report(left=["1"]))

    assert (list(news.passed), news.is_queued) == (["2"], False)


async def test_a_turn_that_passed_unknown_to_its_worker_does_not_queue_again(
    rates: RedisRates,
) -> None:
    await told(rates, "w1", report(("1", 0.0), is_blocked=True))
    await told(rates, "w2", report())

    news = await told(rates, "w1", report(("1", 0.0)))

    assert (list(news.passed), news.is_queued) == (["1"], False)


async def test_a_worker_knows_how_many_wait_elsewhere(rates: RedisRates) -> None:
    await told(rates, "w1", report(waiting=3))
    await told(rates, "w2", report(waiting=4))

    assert (await told(rates, "w3", report(waiting=5))).others == 7


async def test_a_silent_worker_loses_its_places(any_redis: AnyRedis) -> None:
    rates = RedisRates(any_redis.url, gone_seconds=0.3)
    await told(rates, "w1", report(("1", 9.0), ("2", 9.0), waiting=2, is_blocked=True))
    async with waiting():
        while (await told(rates, "w2", report(is_blocked=True))).others:
            await asyncio.sleep(0.01)

    news = await told(rates, "w2", report(("1", 0.0), spacing_seconds=100.0))

    await rates.close()
    assert list(news.passed) == ["1"]


async def test_everything_expires_and_has_the_prefix_of_lex(
    rates_of_server: RedisRates, redis: RedisServer
) -> None:
    rates = rates_of_server
    given = report(("1", 0.0), figures=[tokens(1, 0)], is_blocked=True)
    await told(rates, "w1", given)
    await told(rates, "w2", report(("1", 0.0), is_blocked=True))
    await told(rates, "w2", report())
    async with Redis.from_url(redis.url) as client:
        lives = {str(key): await client.ttl(key) for key in await client.keys("*")}

    assert lives
    assert all("lex:rate:" in key and 0 < life <= 3600 for key, life in lives.items())


async def test_a_redis_that_is_away_or_refuses_is_an_error_of_storage(
    rates_of_server: RedisRates, redis: RedisServer
) -> None:
    rates = rates_of_server
    async with Redis.from_url(redis.url) as client:
        await client.set(f"lex:rate:{MODEL}:queue", "not a queue")
    with pytest.raises(StorageError, match="another program"):
        await told(rates, "w1", report(("1", 0.0)))

    await redis.kill()
    with pytest.raises(StorageError):
        await told(rates, "w1", report())


# Drills: two workers, and an upstream with a rate.


@dataclass
class Drill:
    upstream: RateLimited
    workers: Sequence[httpx.AsyncClient]
    asked: list[asyncio.Task[bool]] = field(default_factory=list)

    async def ask(self, count: int) -> None:
        """Ask one query after the other, alternately at each worker."""
        for number in range(count):
            client = self.workers[number % len(self.workers)]
            self.asked.append(asyncio.create_task(_ask(client, number)))
            await asyncio.sleep(0.005)

    async def waiting(self) -> int:
        """How many turns the workers say to wait."""
        return sum([await _waiting(client) for client in self.workers])

    async def until_served(self, count: int) -> None:
        async with waiting():
            while len(self.upstream.served) < count:
                await asyncio.sleep(0.01)

    @property
    def served_at(self) -> list[float]:
        return [call.at for call in self.upstream.served]

    @property
    def seconds(self) -> float:
        """From the first call that was served to the last."""
        return self.served_at[-1] - self.served_at[0]

    @property
    def longest_gap_seconds(self) -> float:
        return max(later - earlier for earlier, later in pairwise(self.served_at))

    @property
    def displacements(self) -> list[int]:
        """How many places each served turn is away from the order of the questions."""
        order = [int(call.query.removeprefix("turn ")) for call in self.upstream.served]
        return [abs(place - number) for place, number in enumerate(order)]

    @property
    def refused_since(self) -> int:
        """How many calls were refused since the first one was served."""
        return sum(call.at >= self.served_at[0] for call in self.upstream.refused)

    def most_within(self, seconds: float) -> int:
        """The largest number of calls that were served within any `seconds`."""
        at = self.served_at
        return max(sum(first <= each < first + seconds for each in at) for first in at)


async def _ask(client: httpx.AsyncClient, number: int) -> bool:
    """Return whether the turn was completed."""
    body = {"query": f"turn {number}", "session_id": f"s{number}"}
    return '"completed"' in (await client.post("/query", json=body)).text


async def _waiting(client: httpx.AsyncClient) -> int:
    scraped = (await client.get("/metrics")).text
    (found,) = re.findall(r"^lex_upstream_waiting{.*} (\S+)$", scraped, re.MULTILINE)
    return int(float(found))


@asynccontextmanager
async def drill(
    folder: Path, *, calls_per_second: float, burst: int, closed_seconds: float, **more: str
) -> AsyncIterator[Drill]:
    """Run two workers with one database, and an upstream that first serves nothing."""
    variables = {
        "DATABASE_URL": f"sqlite:///{folder / 'lex.db'}",
        "MODEL_FALLBACKS": "none",
        "LEASE_SECONDS": "3",
        "LOG_LEVEL": "WARNING",
        **more,
    }
    async with rate_limited(
        calls_per_second=calls_per_second, burst=burst, closed_seconds=closed_seconds
    ) as upstream:
        variables["GROQ_BASE_URL"] = upstream.url
        async with lex_process(**variables) as one, lex_process(**variables) as two:
            run = Drill(upstream, [one, two])
            upstream.begin()
            yield run


async def test_300_waiting_turns_of_two_workers_are_spread_in_order(
    redis: RedisServer, tmp_path: Path
) -> None:
    async with drill(
        tmp_path, calls_per_second=30, burst=30, closed_seconds=4, REDIS_URL=redis.url
    ) as run:
        await run.ask(300)
        waited = await run.waiting()
        completed = await asyncio.gather(*run.asked)

    assert all(completed)
    assert waited >= 250
    # The rate serves 300 turns in nine to ten seconds, and 120 within any three.
    assert 0.8 <= run.seconds / 10 <= 2
    assert run.most_within(3) <= 120
    assert statistics.mean(run.displacements) <= 0.05 * 300
    assert run.refused_since <= 0.1 * 300


async def test_without_redis_each_worker_takes_its_part(tmp_path: Path) -> None:
    async with drill(tmp_path, calls_per_second=30, burst=30, closed_seconds=3) as run:
        await run.ask(150)
        waited = await run.waiting()
        completed = await asyncio.gather(*run.asked)

    assert all(completed)
    assert waited >= 120
    assert 0.8 <= run.seconds / 5 <= 2
    assert run.refused_since <= 0.2 * 150


async def test_the_places_of_a_killed_worker_hold_up_nobody(
    redis: RedisServer, tmp_path: Path
) -> None:
    async with drill(
        tmp_path, calls_per_second=10, burst=20, closed_seconds=2, REDIS_URL=redis.url
    ) as run:
        await run.ask(120)
        await run.until_served(20)
        client_process(run.workers[0]).kill()
        ended = await asyncio.gather(*run.asked, return_exceptions=True)

    assert all(result is True for result in ended[1::2])
    assert run.longest_gap_seconds <= 5
    # Its places are skipped once it counts as gone, so this takes less time than all turns would.
    assert len(run.upstream.served) < 110
    assert run.seconds < 110 / 10


async def test_turns_that_wait_pass_without_a_redis_that_is_lost(
    redis: RedisServer, tmp_path: Path
) -> None:
    async with drill(
        tmp_path, calls_per_second=20, burst=20, closed_seconds=2, REDIS_URL=redis.url
    ) as run:
        await run.ask(120)
        await run.until_served(20)
        redis.pause()
        completed = await asyncio.gather(*run.asked)

    assert all(completed)
    assert run.longest_gap_seconds <= 5
    assert run.seconds <= 2 * 120 / 20
    assert run.refused_since <= 0.2 * 120
