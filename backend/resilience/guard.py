"""One attempt: admitted by the breaker and the budget of its model, judged, and told of, also as
a span. What is tried again is another span.
"""

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Protocol

from backend.completion import ChatModel, CompletionRequest, Delta, Finish
from backend.errors import (
    ToolUseFailed,
    UpstreamBusy,
    UpstreamError,
    UpstreamRefused,
    UpstreamUnavailable,
)
from backend.resilience.breaker import Breaker, BreakerState
from backend.resilience.budget import Budget
from backend.resilience.captured import captured
from backend.telemetry import tracing


class NamedModel(ChatModel, Protocol):
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One call of one model. `outcome` is `ok`, `cancelled`, or the code of an error;
    `first_chunk_seconds` is the time to its first text or tool call, if there was one.
    """

    model: str
    number: int
    outcome: str
    seconds: float
    first_chunk_seconds: float | None = None


OnAttempt = Callable[[Attempt], None]


class Guarded:
    """A model with its breaker and its budget. Refuses without a call what would be in vain."""

    def __init__(
        self, model: NamedModel, *, breaker: Breaker, budget: Budget, on_attempt: OnAttempt
    ) -> None:
        self.name = model.name
        self.breaker = breaker
        self.budget = budget
        self._model = model
        self._on_attempt = on_attempt

    @property
    def wait_seconds(self) -> float:
        """Until it makes sense to ask; 0 if it does now."""
        return max(self.breaker.wait_seconds, self.budget.wait_seconds)

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Delta, None]:
        self._admit(request)
        number = next(request.attempts)
        call = self.breaker.begin()
        begun = time.perf_counter()
        span = tracing.begin_chat(self.name)
        asked = replace(request, traceparent=tracing.traceparent(span))
        outcome, first_chunk_seconds = "cancelled", None
        delta: Delta | None = None
        try:
            async with aclosing(self._ask(asked, span)) as deltas:
                async for delta in deltas:
                    if first_chunk_seconds is None:
                        call.answered()
                        if not isinstance(delta, Finish):
                            first_chunk_seconds = time.perf_counter() - begun
                    yield delta
            call.succeeded()
            outcome = "ok"
        except UpstreamError as error:
            outcome = error.code
            if is_outage(error):
                call.failed()
            raise
        finally:
            call.end()
            tracing.end_chat(
                span,
                error=None if outcome == "ok" else outcome,
                first_chunk_seconds=first_chunk_seconds,
                attributes=_completion(delta) if isinstance(delta, Finish) else {},
            )
            self._on_attempt(
                Attempt(
                    model=self.name,
                    number=number,
                    outcome=outcome,
                    seconds=time.perf_counter() - begun,
                    first_chunk_seconds=first_chunk_seconds,
                )
            )

    def _ask(self, request: CompletionRequest, span: tracing.Span) -> AsyncGenerator[Delta, None]:
        deltas = self._model.complete(request)
        return captured(deltas, request, span) if tracing.captures_content() else deltas

    @property
    def _has_plenty(self) -> bool:
        return self.breaker.state is BreakerState.CLOSED and not self.budget.is_low

    def _admit(self, request: CompletionRequest) -> None:
        refusal: UpstreamError | None = None
        if wait := self.breaker.wait_seconds:
            refusal = UpstreamUnavailable(retry_after=wait)
        elif wait := self.budget.wait_seconds:
            refusal = UpstreamBusy(retry_after=wait)
        elif not request.is_awaited and not self._has_plenty:
            refusal = UpstreamBusy()
        if refusal is not None:
            refusal.was_asked = False
            raise refusal


def _completion(finish: Finish) -> dict[str, tracing.AttributeValue]:
    return tracing.completion(
        response_id=finish.id,
        model=finish.model,
        finish_reason=finish.reason,
        input_tokens=finish.usage.input_tokens,
        output_tokens=finish.usage.output_tokens,
    )


def is_outage(error: UpstreamError) -> bool:
    """Whether it speaks against the model: not if we asked too much, too often or wrongly."""
    return not isinstance(error, UpstreamBusy | UpstreamRefused | ToolUseFailed)
