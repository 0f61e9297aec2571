"""Makes all workers use each model's rate together: its figures, and the queue for it.

One task exchanges reports and news with the other workers, through a store that they share. No turn
waits for it, except those that queue anyway. Without the store each worker takes its part of the
rates, by the number of live workers.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

import structlog

from backend.domain.errors import StorageError
from backend.domain.rates import RateNews, RateReport
from backend.llm.resilience.gate import Gate
from backend.llm.resilience.rate_budget import RateBudget

logger = structlog.get_logger()

QUEUE_SECONDS = 0.05
"""The interval of exchanges while a turn of this worker is in the queue."""

IDLE_SECONDS = 0.5
"""The interval of exchanges otherwise, after which workers know the figures of each other."""

PAUSE_SECONDS = 0.02
"""The shortest pause between two exchanges."""

BACK_OFF_SECONDS = 0.5
"""The pause after a failed exchange."""

EXCHANGE_SECONDS = 2.0
"""After so long an exchange has failed. Only turns that queue wait for it."""

REPEATED_EVERY = 20
"""After so many exchanges a worker reports everything again, in case the store lost it."""


class LiveWorkers:
    """How many workers use the same rates, as far as this one knows."""

    def __init__(self) -> None:
        self.count = 1


class RateStore(Protocol):
    """The reports of all workers, and the one queue of each model."""

    async def exchange(self, worker: str, reports: Sequence[RateReport]) -> Sequence[RateNews]:
        """Hand in the reports, one of each model, and return the news in the same order.

        A place that is reported twice stays one place. The turns of a worker that has not reported
        for some seconds lose their places.

        Raises:
            StorageError: the store is unreachable. The reports may have arrived or not.
        """
        ...

    async def check(self) -> None:
        """Try everything that an exchange may need. Raises: StorageError."""
        ...


class SharedRate:
    """One model's gate and budget, and what this worker has told the others about them."""

    def __init__(self, model: str, *, budget: RateBudget, gate: Gate) -> None:
        self.model = model
        self.budget = budget
        self.gate = gate
        self._told: set[str] = set()

    def report(self, *, repeats: bool) -> RateReport:
        """Report what is new. With `repeats`, report everything, whether told or not."""
        places = self.gate.places()
        here = {place.id for place in places}
        left = self._told - here
        joined = [place for place in places if repeats or place.id not in self._told]
        self._told = here
        figures, answered = self.budget.take_untold(repeats=repeats)
        return RateReport(
            model=self.model,
            spacing_seconds=self.gate.spacing_seconds,
            is_blocked=self.budget.wait_seconds > 0,
            refused_seconds=self.budget.refused_seconds,
            figures=figures,
            answered=answered,
            waiting=self.gate.waiting_here,
            joined=joined,
            left=sorted(left),
        )

    def learn(self, news: RateNews) -> None:
        self.budget.learn(
            news.figures, refused_seconds=news.refused_seconds, unanswered=news.unanswered
        )
        self._told.difference_update(news.passed)
        self.gate.share(others=news.others, is_queued=news.is_queued, passed=news.passed)

    @property
    def next_seconds(self) -> float:
        """When the next exchange is due, in seconds."""
        soonest = self.gate.soonest_seconds
        return max(QUEUE_SECONDS, min(soonest, IDLE_SECONDS))


class SharedRates:
    """The rates of all models of this worker."""

    def __init__(self, rates: Sequence[SharedRate], *, worker: str) -> None:
        self._rates = rates
        self._worker = worker
        self._has_failed = False
        self._is_checked = False
        self._exchanges = 0
        self._joined = asyncio.Event()
        for rate in rates:
            rate.gate.joined = self._joined

    async def run(self, store: RateStore) -> None:
        """Exchange reports and news until cancelled."""
        while True:
            await asyncio.sleep(BACK_OFF_SECONDS if self._has_failed else PAUSE_SECONDS)
            await self.exchange(store)
            if not self._has_failed:
                await self._pause()

    async def exchange(self, store: RateStore) -> None:
        """Exchange once. If that fails, this worker's turns pass without the others."""
        repeats = self._has_failed or self._exchanges % REPEATED_EVERY == 0
        self._exchanges += 1
        self._joined.clear()
        try:
            reports = [rate.report(repeats=repeats) for rate in self._rates]
            async with asyncio.timeout(EXCHANGE_SECONDS):
                if not self._is_checked:
                    await store.check()
                    self._is_checked = True
                told = await store.exchange(self._worker, reports)
            for rate, news in zip(self._rates, told, strict=True):
                rate.learn(news)
        except Exception as error:  # noqa: BLE001 - the turns that queue must pass all the same
            if not self._has_failed:
                logger.warning("shared_rates_unavailable", error=_cause(error))
            self._has_failed, self._is_checked = True, False
            for rate in self._rates:
                rate.gate.stand_alone()
            return
        if self._has_failed:
            logger.info("shared_rates_available")
        self._has_failed = False

    async def _pause(self) -> None:
        seconds = min(rate.next_seconds for rate in self._rates)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._joined.wait()


def _cause(error: Exception) -> str:
    return str(error) if isinstance(error, StorageError) else repr(error)
