"""The ordered list of models: a failing one is passed over, and comes first again the next time."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

import structlog

from backend.domain.errors import (
    ModelNotServed,
    ModelRetired,
    UpstreamBusy,
    UpstreamError,
    UpstreamUnavailable,
)
from backend.llm.port import CompletionRequest, Delta, NamedModel
from backend.llm.resilience.circuit_breaker import CircuitBreaker
from backend.llm.resilience.gate import Gate
from backend.llm.resilience.retry import ONCE, Begun, Retry, Schedule
from backend.llm.resilience.unserved_models import UnservedModels

logger = structlog.get_logger()

NOBODY = "None of the configured models is served at the moment."

MOST_PASSES = 3
"""Over the list, for one completion. A pass in which nobody was asked costs nothing, and does not
count.
"""

LEAST_PAUSE_SECONDS = 0.25
"""Between two passes, whatever the upstream says: it may say 0 again and again."""


@dataclass(frozen=True, slots=True)
class Candidate:
    model: NamedModel
    breaker: CircuitBreaker
    gate: Gate = field(default_factory=Gate)
    schedule: Schedule = ONCE

    @property
    def name(self) -> str:
        return self.model.name

    async def begin(self, request: CompletionRequest) -> Begun:
        return await Retry(self.model, self.schedule, self.gate).begin(request)


@dataclass(frozen=True, slots=True)
class Failure:
    candidate: Candidate
    error: UpstreamError

    @property
    def wish_seconds(self) -> float | None:
        """Until it may be asked again, which one that is busy may at any time; None if unknown."""
        if self.error.retry_after is None and isinstance(self.error, UpstreamBusy):
            return 0.0
        return self.error.retry_after


@dataclass(slots=True)
class Passes:
    """Those of one completion over the list, up to a `deadline` of the monotonic clock."""

    deadline: float
    count: int = 0
    was_silent: bool = False
    """The only model was silent, and was waited for."""

    @property
    def left_seconds(self) -> float:
        return self.deadline - time.monotonic()


@dataclass(frozen=True, slots=True)
class Wait:
    """For one model at its gate; then all are asked again."""

    failure: Failure
    seconds: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """`retry_after` is when the client may find its turn."""

    error: UpstreamError
    retry_after: float | None


def decide(
    failures: Sequence[Failure], passes: Passes, *, is_alone: bool, is_awaited: bool
) -> Wait | GiveUp:
    """What follows a pass in which all have failed, the last of the `passes`. `is_alone`: there is
    one model to ask.
    """
    soonest = _soonest(failures)
    error, gate = soonest.error, soonest.candidate.gate
    # Two silent models are patience enough; one that has nobody beside it is asked once more.
    is_first_silence = error.is_silence and is_alone and not passes.was_silent
    wish = 0.0 if is_first_silence else soonest.wish_seconds
    if wish is None or passes.count >= MOST_PASSES or not is_awaited:
        return GiveUp(error, error.retry_after)
    pause = max(LEAST_PAUSE_SECONDS, wish)
    if not error.is_passing or gate.estimate_seconds(pause) > passes.left_seconds:
        # A client that comes back then still has its place in the line.
        return GiveUp(error, gate.estimate_seconds(wish) or error.retry_after)
    return Wait(soonest, pause)


def _soonest(failures: Sequence[Failure]) -> Failure:
    """Of those that pass, or else of all, the one that says when to come back; the last one
    if none does.
    """
    failures = [failure for failure in failures if failure.error.is_passing] or failures
    timed = [failure for failure in failures if failure.wish_seconds is not None]
    return min(timed, key=lambda failure: failure.wish_seconds or 0.0, default=failures[-1])


class Fallback:
    """Asks the first model that can, and each of them once before anybody waits.

    When all have failed, the completion waits for the one that is back soonest, behind those who
    wait for it already, and asks all again: `MOST_PASSES` times, and `longest_wait_seconds` in all.
    A model that was silent is asked last for the rest of the turn, and once more if it is the only
    one. A model that is not served is left out until `ask_again` finds that it is, and a retired
    one for good.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        *,
        longest_wait_seconds: float = 60.0,
        unserved: UnservedModels | None = None,
        jitter: Callable[[float], float] = lambda most: random.uniform(0, most),  # noqa: S311 - no secret
    ) -> None:
        self.candidates = candidates
        self.unserved = unserved or UnservedModels()
        self._longest_wait_seconds = longest_wait_seconds
        self._jitter = jitter

    @property
    def in_use(self) -> list[Candidate]:
        """In the order in which they are asked."""
        return [each for each in self.candidates if each.name not in self.unserved]

    def check(self) -> None:
        """Raises: UpstreamUnavailable, while no model is served or every breaker is open."""
        waits = [candidate.breaker.wait_seconds for candidate in self.in_use]
        if not waits:
            raise UpstreamUnavailable(NOBODY, retry_after=self.unserved.soonest_seconds)
        if (soonest := min(waits)) > 0:
            raise UpstreamUnavailable(retry_after=soonest)

    async def ask_again(self) -> None:
        """Ask the models that are left out and due, on nobody's time."""
        await self.unserved.ask_again([candidate.model for candidate in self.candidates])

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Delta, None]:
        begun = await self._begin(request)
        async with aclosing(begun.rest) as rest:
            yield begun.first
            async for delta in rest:
                yield delta

    async def _begin(self, request: CompletionRequest) -> Begun:
        passes = Passes(time.monotonic() + self._longest_wait_seconds)
        let_in: Candidate | None = None
        while True:
            failures: list[Failure] = []
            for candidate in self._in_order(request):
                try:
                    # One that has stood in line for this model is through. All others would
                    # overtake those who still stand there.
                    if candidate is not let_in:
                        candidate.gate.check()
                    return await candidate.begin(request)
                except UpstreamError as error:
                    if error.is_late or not error.concerns_model:
                        raise
                    failures.append(Failure(candidate, error))
                    self._pass_over(candidate, error, request)
            let_in = await self._wait(failures, passes, is_awaited=request.is_awaited)
            request = replace(request, is_again=True)

    def _in_order(self, request: CompletionRequest) -> list[Candidate]:
        """Sorting keeps the order of those that were not silent."""
        return sorted(self.in_use, key=lambda each: each.name in request.silent)

    def _pass_over(
        self, candidate: Candidate, error: UpstreamError, request: CompletionRequest
    ) -> None:
        if error.is_silence:
            request.silent.add(candidate.name)
        if isinstance(error, ModelNotServed):
            self.unserved.leave_out(candidate.name, error)
        else:
            logger.info("model_passed_over", model=candidate.name, error=error.code)

    async def _wait(
        self, failures: Sequence[Failure], passes: Passes, *, is_awaited: bool
    ) -> Candidate:
        """Return the model that was waited for.

        Raises: UpstreamError, if nobody is worth the wait, or it takes longer than it may.
        """
        if not failures:
            raise ModelRetired(NOBODY) if self.unserved.are_final else ModelNotServed(NOBODY)
        passes.count += any(failure.error.was_asked for failure in failures)
        step = decide(failures, passes, is_alone=len(self.in_use) == 1, is_awaited=is_awaited)
        if isinstance(step, GiveUp):
            step.error.retry_after = step.retry_after
            raise step.error
        candidate, error = step.failure.candidate, step.failure.error
        passes.was_silent |= error.is_silence
        pause = step.seconds + self._jitter(LEAST_PAUSE_SECONDS * 2**passes.count)
        logger.info("models_waited_for", model=candidate.name, wait=round(pause, 3))
        try:
            async with asyncio.timeout(max(passes.left_seconds, pause)):
                await candidate.gate.passed(pause)
        except TimeoutError:
            raise error from None
        return candidate
