"""The models, each with all that stands around it."""

import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import asdict
from functools import partial
from typing import Any

import structlog

from backend.completion import Allowance
from backend.llm import GroqModel, open_client
from backend.resilience.breaker import Breaker
from backend.resilience.budget import Budget
from backend.resilience.fallbacks import Candidate, Fallbacks
from backend.resilience.guard import Attempt, Guarded
from backend.resilience.rescue import Rescuing
from backend.resilience.retries import Retrying, Schedule
from backend.settings import Settings
from backend.summaries import AT_ONCE
from backend.telemetry import metrics

logger = structlog.get_logger()


def open_models(settings: Settings, stack: AsyncExitStack) -> Fallbacks:
    client = open_client(
        api_key=settings.groq_api_key,
        base_url=settings.groq_base_url,
        connect_seconds=settings.upstream_connect_seconds,
        max_connections=settings.max_streams + AT_ONCE,
    )
    stack.push_async_callback(client.close)
    ask = partial(
        GroqModel,
        client,
        max_completion_tokens=settings.max_completion_tokens,
        first_byte_seconds=settings.upstream_first_byte_seconds,
        gap_seconds=settings.upstream_gap_seconds,
    )
    schedule = Schedule(budget_seconds=settings.turn_timeout_seconds / 2)
    return Fallbacks(
        [_candidate(name, ask, schedule) for name in settings.models],
        patience_seconds=settings.turn_timeout_seconds / 2,
        on_retired=metrics.model_retired,
    )


def _candidate(name: str, ask: Callable[..., GroqModel], schedule: Schedule) -> Candidate:
    """A model with all that stands around it, from the inside out."""
    metrics.prepare_model(name)
    budget = Budget()

    def note(allowance: Allowance) -> None:
        budget.note(allowance)
        metrics.budget_noted(
            name, allowance.kind, remaining=allowance.remaining, limit=allowance.limit
        )

    breaker = Breaker(on_change=lambda state: metrics.breaker_changed(name, state))
    asked = ask(name, on_allowance=note)
    guarded = Guarded(asked, breaker=breaker, budget=budget, on_attempt=_attempted)
    return Candidate(Retrying(Rescuing(guarded, metrics.call_rescued), schedule), breaker)


def _attempted(attempt: Attempt) -> None:
    metrics.upstream_attempted(
        attempt.model,
        attempt.outcome,
        seconds=attempt.seconds,
        first_chunk_seconds=attempt.first_chunk_seconds,
    )
    # One that went well is in the line of its turn.
    level = logging.DEBUG if attempt.outcome == "ok" else logging.INFO
    logger.log(level, "upstream_attempt", **_shown(attempt))


def _shown(attempt: Attempt) -> dict[str, Any]:
    told = asdict(attempt)
    return {
        name: round(value, 4) if isinstance(value, float) else value for name, value in told.items()
    }
