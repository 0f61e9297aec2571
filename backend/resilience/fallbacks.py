"""The ordered list of models. Who fails is passed over, and asked first again the next time."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import structlog

from backend.completion import CompletionRequest, Delta
from backend.errors import ModelRetired, UpstreamError, UpstreamUnavailable
from backend.resilience.breaker import Breaker
from backend.resilience.guard import NamedModel

logger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Candidate:
    model: NamedModel
    breaker: Breaker

    @property
    def name(self) -> str:
        return self.model.name


class Fallbacks:
    """Asks the first model that can, and each of them once before anybody waits.

    When all have failed and one says when it will be back, the completion waits for it,
    for up to `patience_seconds` in all. One that was silent is asked last for the rest of the
    turn, and once more if it has nobody beside it. A model that is retired is left out for good.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        *,
        patience_seconds: float = 60.0,
        on_retired: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._candidates = candidates
        self._retired: set[str] = set()
        self._patience_seconds = patience_seconds
        self._on_retired = on_retired

    @property
    def in_use(self) -> list[Candidate]:
        """In the order in which they are asked."""
        return [each for each in self._candidates if each.name not in self._retired]

    def check(self) -> None:
        """Raises: UpstreamUnavailable, while every breaker is open."""
        waits = [candidate.breaker.wait_seconds for candidate in self.in_use]
        if waits and (soonest := min(waits)) > 0:
            raise UpstreamUnavailable(retry_after=soonest)

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Delta, None]:
        deadline = time.monotonic() + self._patience_seconds
        was_silent = False
        while True:
            failures: list[UpstreamError] = []
            # Sorting keeps the order of the others.
            for candidate in sorted(self.in_use, key=lambda each: each.name in request.silent):
                try:
                    async with aclosing(candidate.model.complete(request)) as deltas:
                        async for delta in deltas:
                            yield delta
                    return
                except UpstreamError as error:
                    if error.is_late or not error.concerns_model:
                        raise
                    failures.append(error)
                    if error.is_silence:
                        request.silent.add(candidate.name)
                    self._passed_over(candidate, error)
            soonest = _soonest(failures)
            wait = soonest.retry_after if request.is_awaited else None
            is_alone = len(self.in_use) == 1
            if soonest.is_silence and is_alone and request.is_awaited and not was_silent:
                wait, was_silent = 0.0, True
            if wait is None or not soonest.is_passing or time.monotonic() + wait > deadline:
                raise soonest
            await asyncio.sleep(wait)

    def _passed_over(self, candidate: Candidate, error: UpstreamError) -> None:
        name = candidate.name
        if isinstance(error, ModelRetired) and name not in self._retired:
            self._retired.add(name)
            self._on_retired(name)
            logger.warning("model_retired", model=name, left=[each.name for each in self.in_use])
        else:
            logger.info("model_passed_over", model=name, error=error.code)


def _soonest(failures: Sequence[UpstreamError]) -> UpstreamError:
    """Of those that pass, or else of all, the one that says when to come back; the last one
    if none does.
    """
    if not failures:
        return ModelRetired("None of the configured models is served any more.")
    failures = [error for error in failures if error.is_passing] or failures
    timed = [error for error in failures if error.retry_after is not None]
    return min(timed, key=lambda error: error.retry_after or 0.0, default=failures[-1])
