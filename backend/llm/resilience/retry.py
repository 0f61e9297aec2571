"""The same model again: with less reasoning if it only thought, or else after exponential back-off
with full jitter, or the upstream's own wish.

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

logger = structlog.get_logger()

ANSWER_AT_ONCE = (
    "\n\nYour last attempt at this answer ran out of room while you were still thinking. "
    "Think as little as you can, and answer at once and briefly."
)
"""For models that have no parameter for it, or are at their lowest already. It is in the prompt,
since the user never wrote it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How often, and how long apart. `longest_wait_seconds` bounds also what the upstream asks
    for: who wants more is left to the next model, or to the client.
    """

    attempts: int = 3
    base_seconds: float = 0.25
    longest_wait_seconds: float = 2.0
    budget_seconds: float = 60.0
    jitter: Callable[[float], float] = lambda most: random.uniform(0, most)  # noqa: S311 - no secret

    def wait_seconds(self, attempt: int, error: UpstreamError) -> float | None:
        """Before the attempt after `attempt`; None if there should be none."""
        if attempt >= self.attempts or error.is_late or not error.is_passing:
            return None
        if error.is_silence or not error.was_asked:
            return None  # another model may answer at once; if none does, the list asks again
        back_off = self.jitter(
            min(self.longest_wait_seconds, self.base_seconds * 2 ** (attempt - 1))
        )
        if error.retry_after:
            wish = error.retry_after
            return max(wish, back_off) if wish <= self.longest_wait_seconds else None
        if isinstance(error, UpstreamBusy):
            return None  # it does not say when, so the others come first, and then the list again
        return back_off


ONCE = Schedule(attempts=1)

MOST_CUTS = 2
"""Of the history, for one completion: then the next model may take the request."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A completion whose first delta is there, so that nobody is asked again. To be closed."""

    first: Delta
    rest: AsyncGenerator[Delta, None]


@dataclass(frozen=True, slots=True)
class Retry:
    """Turns that wait for a rate wait at the `gate` of the model.

    An answer that was cut before it began is asked for once more, if somebody waits for it, and a
    request that was too large `MOST_CUTS` times, with fewer turns. Those are other questions, and
    no attempts of the `schedule`'s.
    """

    model: NamedModel
    schedule: Schedule = ONCE
    gate: Gate = field(default_factory=Gate)

    async def begin(self, request: CompletionRequest) -> Begun:
        """Return when there is a delta. Raises: UpstreamError, if another model is to be asked."""
        started = time.monotonic()
        attempt, cuts = 1, 0
        while True:
            try:
                deltas = self.model.complete(request)
                # A generator that raises has closed itself.
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
                is_busy = isinstance(error, UpstreamBusy)
                logger.info("upstream_retried", model=self.model.name, error=error.code, wait=wait)
            await (self.gate.passed(wait) if is_busy else asyncio.sleep(wait))
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
        # Rather the next model than a place at the end of a long line.
        is_short = self.gate.estimate_seconds(wait) <= self.schedule.longest_wait_seconds
        return wait if is_short else None


async def _first(deltas: AsyncGenerator[Delta, None]) -> Delta:
    """Raises: UpstreamError, also if there is none: the port promises a `Finish` or an error."""
    try:
        return await anext(deltas)
    except StopAsyncIteration:
        raise UpstreamGarbled from None
