"""The same model again: exponential back-off with full jitter, and the upstream's own wish.

Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
"""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

import structlog

from backend.completion import CompletionRequest, Delta
from backend.errors import UpstreamError
from backend.resilience.guard import NamedModel

logger = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How often, and how long apart. `longest_wait_seconds` bounds also what the upstream asks
    for: who wants more is left to the next model, or to the client.
    """

    attempts: int = 3
    base_seconds: float = 0.25
    longest_wait_seconds: float = 2.0
    budget_seconds: float = 60.0
    jitter: Callable[[float], float] = lambda most: random.uniform(0, most)  # noqa: S311

    def wait_seconds(self, attempt: int, error: UpstreamError) -> float | None:
        """Before the attempt after `attempt`; None if there should be none."""
        if attempt >= self.attempts or error.is_late or not error.is_passing:
            return None
        if error.is_silence or not error.was_asked:
            return None  # another model may answer at once; if none does, the list asks again
        if error.retry_after is not None:
            wish = error.retry_after
            return wish if wish <= self.longest_wait_seconds else None
        return self.jitter(min(self.longest_wait_seconds, self.base_seconds * 2 ** (attempt - 1)))


class Retrying:
    def __init__(self, model: NamedModel, schedule: Schedule) -> None:
        self.name = model.name
        self._model = model
        self._schedule = schedule

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Delta, None]:
        begun = time.monotonic()
        attempt = 0
        while True:
            attempt += 1
            try:
                async with aclosing(self._model.complete(request)) as deltas:
                    async for delta in deltas:
                        yield delta
                return
            except UpstreamError as error:
                if not request.is_awaited:
                    raise
                wait = self._schedule.wait_seconds(attempt, error)
                if wait is None or time.monotonic() - begun + wait > self._schedule.budget_seconds:
                    raise
                logger.info("upstream_retried", model=self.name, error=error.code, wait=wait)
            await asyncio.sleep(wait)
