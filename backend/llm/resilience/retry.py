"""Retries the same model.

A model that used up its tokens on reasoning is asked once more, to reason less. Other retries wait
for exponential back-off with full jitter, or for as long as the upstream asks.

Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
"""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field, replace

import structlog

from backend.domain.errors import (
    AnswerCut,
    RequestTooLarge,
    UpstreamBusy,
    UpstreamError,
    UpstreamGarbled,
)
from backend.llm.port import CompletionRequest, Delta, NamedModel
from backend.llm.resilience.gate import Gate
from backend.llm.resilience.waiting import waiting

logger = structlog.get_logger()

ANSWER_AT_ONCE = (
    "\n\nYour last attempt at this answer ran out of room while you were still thinking. "
    "Think as little as you can, and answer at once and briefly."
)
"""Added to the prompt for models without a parameter for less reasoning, or already at the lowest.

It is part of the prompt and not of the messages, because the user never wrote it.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How often to retry, and how long to wait in between.

    If the upstream asks for more than `longest_wait_seconds`, there is no retry: the next model is
    tried, or the client may come back. `budget_seconds` limits all attempts together.
    """

    attempts: int = 3
    base_seconds: float = 0.25
    longest_wait_seconds: float = 2.0
    budget_seconds: float = 60.0
    jitter: Callable[[float], float] = lambda most: random.uniform(0, most)  # noqa: S311 - no secret

    def wait_seconds(self, attempt: int, error: UpstreamError) -> float | None:
        """Return the wait after the given attempt; None for no retry."""
        if attempt >= self.attempts or error.is_late or not error.is_passing:
            return None
        if error.is_silence or not error.was_asked:
            return None  # another model may answer at once; if none does, `fallback` tries again
        back_off = self.jitter(
            min(self.longest_wait_seconds, self.base_seconds * 2 ** (attempt - 1))
        )
        if error.retry_after:
            wish = error.retry_after
            return max(wish, back_off) if wish <= self.longest_wait_seconds else None
        if isinstance(error, UpstreamBusy):
            return None  # it names no time, so try the other models before this one again
        return back_off


ONCE = Schedule(attempts=1)

MOST_CUTS = 2
"""How often one completion leaves out more history. After that, the next model is tried."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A completion with its first delta, so no retry is possible any more.

    The caller must close `rest`.
    """

    first: Delta
    rest: AsyncGenerator[Delta, None]


@dataclass(frozen=True, slots=True)
class Retry:
    """Retries one model by a `schedule`. While its rate is used up, turns queue at its `gate`.

    Two other repetitions do not count as attempts of the `schedule`. After an answer that was cut
    before its first word, a request that a user waits for is repeated once with less reasoning. A
    request that was too large is repeated up to `MOST_CUTS` times, with fewer turns.
    """

    model: NamedModel
    schedule: Schedule = ONCE
    gate: Gate = field(default_factory=Gate)

    async def begin(self, request: CompletionRequest) -> Begun:
        """Return at the first delta. Raises: UpstreamError, if this model has finally failed."""
        started = time.monotonic()
        attempt, cuts = 1, 0
        while True:
            try:
                deltas = self.model.complete(request)
                # If `_first` raises, the generator has finished and needs no closing.
                return Begun(await _first(deltas), deltas)
            except AnswerCut:
                if not request.is_awaited or request.thinks_least:
                    raise
                logger.info("upstream_asked_for_less_reasoning", model=self.model.name)
                prompt = request.prompt + ANSWER_AT_ONCE
                request = replace(request, thinks_least=True, prompt=prompt)
                continue
            except RequestTooLarge as error:
                if error.is_late or not error.can_be_cut or cuts == MOST_CUTS:
                    raise
                logger.info("upstream_asked_for_less_history", model=self.model.name)
                cuts += 1
                continue
            except UpstreamError as error:
                wait = self._wait_seconds(request, attempt, error)
                if wait is None or time.monotonic() - started + wait > self.schedule.budget_seconds:
                    raise
                failure = error
                logger.debug("upstream_retried", model=self.model.name, error=error.code, wait=wait)
            with waiting(self.model.name, failure):
                if isinstance(failure, UpstreamBusy):
                    await self.gate.passed(wait, came_at=started)
                else:
                    await asyncio.sleep(wait)
            attempt += 1

    def _wait_seconds(
        self, request: CompletionRequest, attempt: int, error: UpstreamError
    ) -> float | None:
        is_timed = error.retry_after is not None or isinstance(error, UpstreamBusy)
        if not request.is_awaited or (request.is_again and is_timed):
            return None
        wait = self.schedule.wait_seconds(attempt, error)
        if wait is None or not isinstance(error, UpstreamBusy):
            return wait
        # If the queue is long, try the next model instead.
        is_short = self.gate.estimate_seconds(wait) <= self.schedule.longest_wait_seconds
        return wait if is_short else None


async def _first(deltas: AsyncGenerator[Delta, None]) -> Delta:
    """Return the first delta. Raises: UpstreamError, even for a generator without any delta."""
    try:
        return await anext(deltas)
    except StopAsyncIteration:
        raise UpstreamGarbled from None
