"""One attempt: admits a call by the model's breaker and rate budget, judges and reports it.

Each attempt has its own span, so a retry is another span.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace

from backend.domain.context_window import characters
from backend.domain.errors import (
    AnswerCut,
    OutOfDescriptors,
    RequestTooLarge,
    ServiceError,
    ToolUseFailed,
    UpstreamBusy,
    UpstreamError,
    UpstreamRefused,
    UpstreamUnavailable,
)
from backend.llm.port import CompletionRequest, Delta, Finish, NamedModel
from backend.llm.resilience.circuit_breaker import BreakerState, CircuitBreaker
from backend.llm.resilience.content_capture import content
from backend.llm.resilience.rate_budget import RateBudget
from backend.llm.resilience.request_size import RequestSize
from backend.telemetry import tracing


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """The report on one call of one model.

    `outcome` is `ok`, `cancelled` or an error code; `internal_error` means a bug in Lex.
    `first_chunk_seconds` is the time to the first text or tool call, if there was one.
    """

    model: str
    number: int
    outcome: str
    seconds: float
    first_chunk_seconds: float | None = None


OnAttempt = Callable[[Attempt], None]


class SingleAttempt:
    """A model with its breaker and rate budget, which refuse calls that cannot succeed."""

    def __init__(
        self,
        model: NamedModel,
        *,
        breaker: CircuitBreaker,
        budget: RateBudget,
        size: RequestSize | None = None,
        on_attempt: OnAttempt,
    ) -> None:
        self.name = model.name
        self._breaker = breaker
        self._budget = budget
        self._size = size or RequestSize()
        self._model = model
        self._on_attempt = on_attempt

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Delta, None]:
        self._admit(request)
        number = next(request.attempts)
        call = self._breaker.begin()
        begun = time.perf_counter()
        span = tracing.begin_chat(self.name)
        fitted = self._size.fitted(request)
        left_out = characters(request.messages[: len(request.messages) - len(fitted.messages)])
        asked = replace(fitted, traceparent=tracing.traceparent(span))
        outcome, first_chunk_seconds = ServiceError.code, None
        # After the loop this is the last delta: the `Finish`, if the completion is complete.
        delta: Delta | None = None
        said: list[Delta] | None = [] if tracing.captures_content() else None
        try:
            async with aclosing(self._model.complete(asked)) as deltas:
                async for delta in deltas:
                    if first_chunk_seconds is None:
                        # The first delta settles a probe. All other calls are refused meanwhile,
                        # so it must not take the minutes of a whole answer.
                        call.answered()
                        if not isinstance(delta, Finish):
                            first_chunk_seconds = time.perf_counter() - begun
                    if said is not None:
                        said.append(delta)
                    if left_out and isinstance(delta, Finish):
                        yield replace(delta, left_out_characters=left_out)
                    else:
                        yield delta
            call.succeeded()
            outcome = "ok"
        except (asyncio.CancelledError, GeneratorExit):
            outcome = "cancelled"
            raise
        except UpstreamError as error:
            outcome = error.code
            if is_outage(error):
                call.failed()
            if isinstance(error, RequestTooLarge):
                self._size.refused(fitted, error)
            if isinstance(error, UpstreamBusy):
                self._budget.refused(error.retry_after)
            raise
        finally:
            call.end()
            if isinstance(delta, Finish):
                self._budget.spent(delta.usage.input_tokens + delta.usage.output_tokens)
                self._size.answered(fitted, delta.usage.input_tokens)
            if said is not None:
                span.set_attributes(content(asked, said))
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

    @property
    def _has_plenty(self) -> bool:
        return self._breaker.state is BreakerState.CLOSED and not self._budget.is_low

    def _admit(self, request: CompletionRequest) -> None:
        refusal: UpstreamError | None = None
        if wait := self._breaker.wait_seconds:
            refusal = UpstreamUnavailable(retry_after=wait)
        elif wait := self._budget.wait_seconds:
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
    """Whether the error counts against the model, and not against our request or this machine."""
    ours = UpstreamBusy | UpstreamRefused | ToolUseFailed | AnswerCut | OutOfDescriptors
    return not isinstance(error, ours)
