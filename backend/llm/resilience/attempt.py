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
from backend.domain.usage import ModelCall, Purpose
from backend.llm.content_capture import call_content, is_captured
from backend.llm.port import CompletionRequest, Delta, Finish, FinishReason, Meter, NamedModel
from backend.llm.prices import Prices
from backend.llm.resilience.circuit_breaker import BreakerState, CircuitBreaker
from backend.llm.resilience.metering import Metering
from backend.llm.resilience.rate_budget import RateBudget
from backend.llm.resilience.request_size import RequestSize
from backend.telemetry import tracing, turn_clock
from backend.telemetry.turn_clock import Part


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """The report on one call of one model.

    `outcome` is `ok`, `cancelled` or an error code; `internal_error` means a bug in Lex.
    `first_chunk_seconds` is the time to the first text or tool call, if there was one.
    `seconds_per_token` is the mean time between output tokens, if there were two; if the answer
    broke off, it includes the wait for the next one. `call` is the call's entry in the ledger; None
    if it cost nothing.
    """

    model: str
    number: int
    purpose: Purpose
    outcome: str
    seconds: float
    first_chunk_seconds: float | None = None
    seconds_per_token: float | None = None
    finish_reason: FinishReason | None = None
    call: ModelCall | None = None


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
        prices: Prices | None = None,
        on_attempt: OnAttempt,
    ) -> None:
        self.name = model.name
        self._breaker = breaker
        self._budget = budget
        self._size = size or RequestSize()
        self._prices = prices or Prices()
        self._metering = Metering()
        self._model = model
        self._on_attempt = on_attempt

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Delta, None]:
        self._admit(request)
        number = next(request.attempts)
        call = self._breaker.begin()
        begun = time.perf_counter()
        span = tracing.begin_chat(self.name, purpose=request.purpose)
        fitted = self._size.fitted(request)
        left_out = characters(request.messages[: len(request.messages) - len(fitted.messages)])
        meter = Meter()
        asked = replace(fitted, traceparent=tracing.traceparent(span), meter=meter)
        outcome, first_chunk_seconds, written_at = ServiceError.code, None, begun
        failure: BaseException | None = None
        # After the loop this is the last delta: the `Finish`, if the completion is complete.
        delta: Delta | None = None
        said: list[Delta] | None = [] if is_captured(request.purpose) else None
        clock = turn_clock.current()
        model_seconds = clock.seconds_in(Part.MODEL)
        before = clock.switch(Part.MODEL)
        try:
            async with aclosing(self._model.complete(asked)) as deltas:
                async for delta in deltas:
                    if first_chunk_seconds is None:
                        # The first delta settles a probe. All other calls are refused meanwhile,
                        # so it must not take the minutes of a whole answer.
                        call.answered()
                        if not isinstance(delta, Finish):
                            first_chunk_seconds = time.perf_counter() - begun
                    if not isinstance(delta, Finish):
                        written_at = time.perf_counter()
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
            outcome, failure = error.code, error
            if is_outage(error):
                call.failed()
            if isinstance(error, RequestTooLarge):
                self._size.refused(fitted, error)
            if isinstance(error, UpstreamBusy):
                self._budget.refused(error.retry_after)
            raise
        finally:
            clock.switch(before)
            clock.has_queued(meter.queue_seconds or 0.0, model_seconds_before=model_seconds)
            call.end()
            if isinstance(delta, Finish):
                self._budget.spent(delta.usage.input_tokens + delta.usage.output_tokens)
                self._size.answered(fitted, delta.usage.input_tokens)
            if said is not None:
                span.set_attributes(call_content(asked, said))
            tracing.end_chat(
                span,
                error=None if outcome == "ok" else outcome,
                first_chunk_seconds=first_chunk_seconds,
                attributes=_completion(delta) if isinstance(delta, Finish) else {},
            )
            if isinstance(delta, Finish) and delta.usage.total_tokens:
                meter.usage = meter.usage or delta.usage
            spent = self._enter(fitted, meter, failure)
            ended, is_whole = time.perf_counter(), isinstance(delta, Finish)
            self._on_attempt(
                Attempt(
                    model=self.name,
                    number=number,
                    purpose=asked.purpose,
                    outcome=outcome,
                    seconds=ended - begun,
                    first_chunk_seconds=first_chunk_seconds,
                    seconds_per_token=_pace(
                        meter, spent, until=written_at if is_whole else ended, is_whole=is_whole
                    ),
                    finish_reason=delta.reason if isinstance(delta, Finish) else None,
                    call=spent,
                )
            )

    def _enter(
        self, asked: CompletionRequest, meter: Meter, failure: BaseException | None
    ) -> ModelCall | None:
        """Enter a call that has ended into the ledger, unless it cost nothing."""
        used = self._metering.used(meter, self._size.characters(asked), failure)
        if used is None:
            return None
        usage, is_estimated = used
        call = ModelCall(
            model=self.name,
            purpose=asked.purpose,
            usage=usage,
            is_estimated=is_estimated,
            cost=self._prices.cost(self.name, usage),
        )
        asked.calls.append(call)
        return call

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
        cached_input_tokens=finish.usage.cached_input_tokens,
        reasoning_tokens=finish.usage.reasoning_tokens,
    )


def _pace(meter: Meter, call: ModelCall | None, *, until: float, is_whole: bool) -> float | None:
    """The mean time from one output token to the next; None if there were too few tokens."""
    if call is None or meter.began_at is None:
        return None
    # The next token of an answer that broke off was awaited until the end.
    steps = call.usage.output_tokens - int(is_whole)
    return (until - meter.began_at) / steps if steps > 0 else None


def is_outage(error: UpstreamError) -> bool:
    """Whether the error counts against the model, and not against our request or this machine."""
    ours = UpstreamBusy | UpstreamRefused | ToolUseFailed | AnswerCut | OutOfDescriptors
    return not isinstance(error, ours)
