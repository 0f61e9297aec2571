"""Build the chain of models, each wrapped in breaker, rate budget, repair and retries."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import fields
from functools import partial
from typing import Any

import structlog

from backend.aio.periodic import repeat
from backend.app.background import keep
from backend.app.llm_providers import OpenProvider, Provider
from backend.domain.usage import PICO, ModelCall
from backend.llm.port import Allowance
from backend.llm.prices import Prices
from backend.llm.resilience.attempt import Attempt, SingleAttempt
from backend.llm.resilience.circuit_breaker import CircuitBreaker
from backend.llm.resilience.fallback import Candidate, Fallback
from backend.llm.resilience.gate import Gate
from backend.llm.resilience.rate_budget import RateBudget
from backend.llm.resilience.request_size import RequestSize
from backend.llm.resilience.retry import Schedule
from backend.llm.resilience.shared_rates import LiveWorkers, SharedRate, SharedRates
from backend.llm.resilience.unserved_models import UnservedModels
from backend.settings import Settings
from backend.storage.redis.rates import RedisRates
from backend.telemetry import call_tally, metrics

logger = structlog.get_logger()

ASK_AGAIN_SECONDS = 15.0
"""The interval of checks whether a model that was not served is due for another try."""


def open_models(
    settings: Settings,
    provider: Provider,
    stack: AsyncExitStack,
    *,
    prices: Prices,
    worker: str,
    live_workers: LiveWorkers,
    ask_again_seconds: float = ASK_AGAIN_SECONDS,
) -> Fallback:
    """Open the models of a worker, and share their rates with the other workers if Redis is set."""
    metrics.prepare_provider(provider.name)
    upstream = provider.open(settings, stack)
    # Retries and waits may take half of a turn's time: the other half is left for the answer.
    schedule = Schedule(budget_seconds=settings.turn_timeout_seconds / 2)
    made = [
        _candidate(
            name,
            upstream,
            schedule,
            live_workers,
            prices=prices,
            answer_tokens=settings.max_completion_tokens,
        )
        for name in settings.models
    ]
    models = Fallback(
        [candidate for candidate, _ in made],
        longest_wait_seconds=settings.turn_timeout_seconds / 2,
        unserved=UnservedModels(on_away=metrics.model_away, on_back=metrics.model_back),
    )
    keep(repeat(models.ask_again, every_seconds=ask_again_seconds, name="ask_again"), stack)
    _share([rate for _, rate in made], settings, worker, stack)
    return models


def _share(
    rates: Sequence[SharedRate], settings: Settings, worker: str, stack: AsyncExitStack
) -> None:
    if settings.redis_url is not None:
        store = RedisRates(settings.redis_url.get_secret_value())
        stack.push_async_callback(store.close)
        keep(SharedRates(rates, worker=worker).run(store), stack)


def _candidate(
    name: str,
    upstream: OpenProvider,
    schedule: Schedule,
    live_workers: LiveWorkers,
    *,
    prices: Prices,
    answer_tokens: int,
) -> tuple[Candidate, SharedRate]:
    """Wrap a model, from the inside out: attempt with breaker and budget, repair, gate, retries."""
    metrics.prepare_model(name)
    budget = RateBudget()
    gate = Gate(
        lambda waiting: budget.spacing_seconds(
            waiting, workers=1 if gate.is_shared else live_workers.count
        ),
        blocked_seconds=lambda: budget.wait_seconds,
        on_waiting=partial(metrics.turns_wait, name),
        on_release=budget.released,
    )
    size = RequestSize(answer_tokens=answer_tokens)

    def note(allowance: Allowance) -> None:
        budget.note(allowance)
        size.allowed(allowance)
        gate.replan()
        metrics.budget_noted(
            name, allowance.kind, remaining=allowance.remaining, limit=allowance.limit
        )

    breaker = CircuitBreaker(on_change=lambda state: metrics.breaker_changed(name, state))
    asked = upstream.make_model(name, on_allowance=note)
    attempt = SingleAttempt(
        asked, breaker=breaker, budget=budget, size=size, prices=prices, on_attempt=_attempted
    )
    candidate = Candidate(upstream.repair(attempt), breaker, gate, schedule, size)
    return candidate, SharedRate(name, budget=budget, gate=gate)


def _count(call: ModelCall) -> None:
    usage = call.usage
    metrics.model_called(
        call.model,
        call.purpose,
        tokens={
            "input": usage.input_tokens,
            "cached": usage.cached_input_tokens,
            "output": usage.output_tokens,
            "reasoning": usage.reasoning_tokens,
        },
        is_estimated=call.is_estimated,
        cost_usd=None if call.cost is None else call.cost / PICO,
    )


def _attempted(attempt: Attempt) -> None:
    metrics.upstream_attempted(
        attempt.model,
        attempt.outcome,
        purpose=attempt.purpose,
        seconds=attempt.seconds,
        first_chunk_seconds=attempt.first_chunk_seconds,
        seconds_per_token=attempt.seconds_per_token,
        finish_reason=attempt.finish_reason,
    )
    if attempt.call is not None:
        _count(attempt.call)
    call_tally.attempted(attempt.model, attempt.outcome)
    # The line of the turn has their numbers.
    logger.debug("upstream_attempt", **_shown(attempt))


# The line of the turn has the tokens of the call.
_SHOWN = [field for field in fields(Attempt) if field.name != "call"]


def _shown(attempt: Attempt) -> dict[str, Any]:
    told = ((each.name, getattr(attempt, each.name)) for each in _SHOWN)
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in told}
