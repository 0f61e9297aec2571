"""Falls back from a failing model to the next one in the list, separately for each completion."""

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
from backend.llm.resilience.request_size import RequestSize
from backend.llm.resilience.retry import ONCE, Begun, Retry, Schedule
from backend.llm.resilience.unserved_models import UnservedModels
from backend.llm.resilience.waiting import waiting

logger = structlog.get_logger()

NOBODY = "None of the configured models is available at the moment."

MOST_PASSES = 3
"""How often one completion goes through the list. Passes without an upstream call do not count."""

LEAST_PAUSE_SECONDS = 0.25
"""The shortest pause between two passes, even if the upstream says 0 again and again."""


LONGEST_OUTAGE_SECONDS = 2.0
"""How long a turn waits for a circuit breaker. Longer waits follow each other without an answer:
with nobody listening at the upstream's address, turns took 51 s to fail."""


@dataclass(frozen=True, slots=True)
class Candidate:
    model: NamedModel
    breaker: CircuitBreaker
    gate: Gate = field(default_factory=Gate)
    schedule: Schedule = ONCE
    size: RequestSize = field(default_factory=RequestSize)

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
        """The model's own wish for a pause before the next try; None if unknown.

        A busy model that names no time may be tried at any time.
        """
        if self.error.retry_after is None and isinstance(self.error, UpstreamBusy):
            return 0.0
        return self.error.retry_after


@dataclass(slots=True)
class Passes:
    """The passes of one completion over the list, until a `deadline` of the monotonic clock."""

    deadline: float
    count: int = 0
    was_silent: bool = False
    """Whether the completion has already waited once because of a silent model."""
    came_at: float = field(default_factory=time.monotonic)
    """When the completion began, which decides its place in every queue."""

    @property
    def left_seconds(self) -> float:
        return self.deadline - time.monotonic()


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait at the gate of the failed model, then try all models again."""

    failure: Failure
    seconds: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Fail. `retry_after` is the time in which the client may succeed, in seconds."""

    error: UpstreamError
    retry_after: float | None


def decide(
    failures: Sequence[Failure], passes: Passes, *, is_alone: bool, is_awaited: bool
) -> Wait | GiveUp:
    """Decide what follows a pass in which all models failed.

    `is_alone` says that there is only one model, `is_awaited` that a user waits for the answer.
    """
    soonest = _soonest(failures)
    error, gate = soonest.error, soonest.candidate.gate
    # Two silent models have cost enough time. A single one gets a second chance.
    is_first_silence = error.is_silence and is_alone and not passes.was_silent
    wish = 0.0 if is_first_silence else soonest.wish_seconds
    if wish is None or passes.count >= MOST_PASSES or not is_awaited:
        return GiveUp(error, error.retry_after)
    is_breaker_open = isinstance(error, UpstreamUnavailable) and not error.was_asked
    if is_breaker_open and wish > LONGEST_OUTAGE_SECONDS:
        return GiveUp(error, error.retry_after)
    pause = max(LEAST_PAUSE_SECONDS, wish)
    queue_seconds = gate.estimate_seconds(pause, came_at=passes.came_at)
    if not error.is_passing or queue_seconds > passes.left_seconds:
        # The client would come back as a new turn, behind all that wait now.
        return GiveUp(error, gate.estimate_seconds(wish) or error.retry_after)
    return Wait(soonest, pause)


def _soonest(failures: Sequence[Failure]) -> Failure:
    """Return the failure with the shortest named wait; the last failure if none names one.

    Temporary failures are preferred over permanent ones.
    """
    failures = [failure for failure in failures if failure.error.is_passing] or failures
    timed = [failure for failure in failures if failure.wish_seconds is not None]
    return min(timed, key=lambda failure: failure.wish_seconds or 0.0, default=failures[-1])


class Fallback:
    """A chat model that tries the candidates in order until one of them answers.

    If all fail, the completion queues for the model that is back soonest, and then tries all again:
    at most `MOST_PASSES` passes, and `longest_wait_seconds` in total. A model that timed out goes
    last for the rest of the turn. A model that the upstream does not serve is left out until
    `ask_again` finds it served, and a retired model for good.
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
        self.unserved = UnservedModels() if unserved is None else unserved
        self._longest_wait_seconds = longest_wait_seconds
        self._jitter = jitter

    @property
    def in_use(self) -> Sequence[Candidate]:
        """The candidates that the upstream serves, in their configured order."""
        if not self.unserved:
            return self.candidates
        return [each for each in self.candidates if each.name not in self.unserved]

    @property
    def input_limit_tokens(self) -> int | None:
        """The largest input of the first model, without the tokens of the answer; None if unknown.

        A session's history is cut for this model. For a smaller one, each request is cut alone.
        """
        return self.in_use[0].size.input_limit_tokens if self.in_use else None

    def check(self) -> None:
        """Raises: UpstreamUnavailable, if no model is served or all breakers are open."""
        waits = [candidate.breaker.wait_seconds for candidate in self.in_use]
        if not waits:
            raise UpstreamUnavailable(NOBODY, retry_after=self.unserved.soonest_seconds)
        if (soonest := min(waits)) > 0:
            raise UpstreamUnavailable(retry_after=soonest)

    async def ask_again(self) -> None:
        """Probe the models that are left out, if their wait is over. Runs in the background."""
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
                    # The completion has queued for `let_in`. At the gates of other models, it must
                    # not overtake those who queue there.
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

    def _in_order(self, request: CompletionRequest) -> Sequence[Candidate]:
        """Silent models go last. The sort is stable, so the others keep their order."""
        if not request.silent:
            return self.in_use
        return sorted(self.in_use, key=lambda each: each.name in request.silent)

    def _pass_over(
        self, candidate: Candidate, error: UpstreamError, request: CompletionRequest
    ) -> None:
        if error.is_silence:
            request.silent.add(candidate.name)
        if isinstance(error, ModelNotServed):
            self.unserved.leave_out(candidate.name, error)
        else:
            logger.debug("model_passed_over", model=candidate.name, error=error.code)

    async def _wait(
        self, failures: Sequence[Failure], passes: Passes, *, is_awaited: bool
    ) -> Candidate:
        """Wait for the model that is back soonest, and return it.

        Raises:
            UpstreamError: no model is worth the wait, or the wait would take too long.
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
        pause = step.seconds
        if not (isinstance(error, UpstreamBusy) and error.retry_after):
            # The gate spreads those who wait for a known time, and jitter would mix their order.
            pause += self._jitter(LEAST_PAUSE_SECONDS * 2**passes.count)
        logger.debug("models_waited_for", model=candidate.name, wait=round(pause, 3))
        try:
            async with asyncio.timeout(max(passes.left_seconds, pause)):
                with waiting(candidate.name, error):
                    await candidate.gate.passed(pause, came_at=passes.came_at)
        except TimeoutError:
            raise error from None
        return candidate
