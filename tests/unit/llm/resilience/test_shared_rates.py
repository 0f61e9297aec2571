"""Workers that share their rates through a store, and what they do when it fails."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import pytest
from structlog.testing import capture_logs

from backend.domain.errors import StorageError
from backend.domain.rates import RateFigure, RateNews, RateReport
from backend.llm.port import Allowance
from backend.llm.resilience.gate import Gate
from backend.llm.resilience.rate_budget import RateBudget
from backend.llm.resilience.shared_rates import REPEATED_EVERY, SharedRate, SharedRates
from tests.waiting import within_limit

ALLOWANCE = Allowance(kind="tokens", remaining=3000, reset_seconds=30, limit=6000)
FIGURE = RateFigure(kind="tokens", remaining=0, reset_seconds=60, limit=6000)


class Store:
    """Keeps the reports, and answers with the given news."""

    def __init__(self) -> None:
        self.reports: list[RateReport] = []
        self.news = RateNews()
        self.error: Exception | None = None
        self.hangs = False
        self.checks = 0

    async def check(self) -> None:
        if self.error is not None:
            raise self.error
        self.checks += 1

    async def exchange(self, worker: str, reports: Sequence[RateReport]) -> Sequence[RateNews]:
        assert worker == "w1"
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        self.reports += reports
        return [self.news for _ in reports]


class World:
    def __init__(self) -> None:
        self.budget = RateBudget()
        self.gate = Gate(lambda _: 0.02, blocked_seconds=lambda: self.budget.wait_seconds)
        rate = SharedRate("m", budget=self.budget, gate=self.gate)
        self.rates = SharedRates([rate], worker="w1")
        self.store = Store()

    async def exchange(self) -> RateReport | None:
        await self.rates.exchange(self.store)
        return self.store.reports[-1] if self.store.reports else None

    async def queued(self, count: int) -> list[asyncio.Task[None]]:
        tasks = [asyncio.create_task(self.gate.passed(0.0)) for _ in range(count)]
        await asyncio.sleep(0)
        return tasks


async def test_a_figure_is_told_once_and_again_now_and_then() -> None:
    world = World()
    world.budget.note(ALLOWANCE)
    for _ in range(REPEATED_EVERY + 1):
        await world.exchange()

    told = [[figure.remaining for figure in report.figures] for report in world.store.reports]
    assert told == [[3000], *[[]] * (REPEATED_EVERY - 1), [3000]]
    assert [report.answered for report in world.store.reports][:2] == [1, 0]


async def test_what_others_know_blocks_this_worker_too() -> None:
    world = World()
    world.budget.note(ALLOWANCE)
    world.store.news = RateNews(figures=[FIGURE])
    await world.exchange()
    by_the_figure = world.budget.wait_seconds
    world.store.news = RateNews(refused_seconds=100)
    await world.exchange()

    assert by_the_figure == pytest.approx(60, rel=0.1)
    assert world.budget.wait_seconds == pytest.approx(100, rel=0.1)


async def test_places_are_told_when_they_are_taken_and_given_up() -> None:
    world = World()
    world.gate.share(others=0, is_queued=False, passed=[])
    await world.exchange()
    tasks = await world.queued(3)
    await world.exchange()
    tasks[0].cancel()
    await asyncio.wait(tasks[:1])
    world.store.news = RateNews(passed=["2"])
    await world.exchange()
    await within_limit(tasks[1])
    world.store.news = RateNews(passed=["3"])
    await world.exchange()
    await within_limit(tasks[2])
    await world.exchange()

    reports = world.store.reports[1:]
    assert [[place.id for place in report.joined] for report in reports] == [
        ["1", "2", "3"],
        [],
        [],
        [],
    ]
    assert [report.left for report in reports] == [[], ["1"], [], []]
    assert [report.waiting for report in reports] == [3, 2, 1, 0]


async def test_a_store_that_fails_lets_turns_pass_and_is_told_everything_when_it_is_back() -> None:
    world = World()
    world.budget.note(ALLOWANCE)
    await world.exchange()
    tasks = await world.queued(2)
    blocked = await world.queued(1)
    await world.exchange()
    assert world.gate.is_shared

    world.store.error = StorageError(reason="connection refused")
    with capture_logs() as logged:
        await world.exchange()
        await world.exchange()
        await within_limit(asyncio.gather(*tasks, *blocked))
        world.store.error = None
        late = await world.queued(1)
        report = await world.exchange()

    late[0].cancel()
    await asyncio.wait(late)
    assert [entry["event"] for entry in logged] == [
        "shared_rates_unavailable",
        "shared_rates_available",
    ]
    assert world.store.checks == 2
    assert report is not None
    assert [figure.remaining for figure in report.figures] == [3000]
    assert [place.id for place in report.joined] == ["4"]


async def test_a_bug_in_the_store_does_not_hold_up_turns() -> None:
    world = World()
    await world.exchange()
    tasks = await world.queued(2)
    world.store.error = ValueError("a reply that nobody understands")

    with capture_logs() as logged:
        await world.exchange()
        await within_limit(asyncio.gather(*tasks))

    assert [entry["event"] for entry in logged] == ["shared_rates_unavailable"]


async def test_the_task_exchanges_soon_after_a_turn_joins() -> None:
    world = World()
    running = asyncio.create_task(world.rates.run(world.store))
    try:
        async with asyncio.timeout(30):
            while not world.store.reports:
                await asyncio.sleep(0.01)
            tasks = await world.queued(1)
            while not any(report.joined for report in world.store.reports):
                await asyncio.sleep(0.01)
            world.store.news = replace(world.store.news, passed=["1"])
            await asyncio.gather(*tasks)
    finally:
        running.cancel()
        await asyncio.wait([running])


async def test_a_store_that_hangs_delays_only_turns_that_queue_and_those_not_for_long() -> None:
    world = World()
    await world.exchange()
    world.store.hangs = True
    exchanging = asyncio.create_task(world.exchange())
    await asyncio.sleep(0)

    world.gate.check()
    assert world.budget.wait_seconds == 0
    tasks = await world.queued(2)
    await within_limit(asyncio.gather(exchanging, *tasks))


async def test_news_that_make_no_sense_do_not_end_the_exchanges() -> None:
    world = World()
    world.store.news = RateNews(refused_seconds=cast("float", None))
    with capture_logs() as logged:
        await world.exchange()
    tasks = await world.queued(1)
    await within_limit(asyncio.gather(*tasks))
    world.store.news = RateNews()
    await world.exchange()

    assert [entry["event"] for entry in logged] == ["shared_rates_unavailable"]
    assert world.gate.is_shared
