"""Build the ending of a turn, and report it to metrics, traces and logs.

The store, the client's `outcome` event and the reports all use one `Ending`, so they agree.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

import structlog

from backend.agent.loop import Turn
from backend.domain.conversation import Outcome, Role
from backend.domain.errors import ServiceError, StorageError, TurnTimedOut
from backend.domain.events import End, Logged, TokenUsage, Transport, TurnOutcome, encode, failure
from backend.domain.turn_keys import TurnKey
from backend.domain.usage import ModelCall, spent_by
from backend.llm.content_capture import is_captured, turn_content
from backend.storage.ports.sessions import Ending
from backend.telemetry import kept_traces, metrics, tracing
from backend.telemetry.call_tally import CallTally
from backend.telemetry.turn_clock import Part

logger = structlog.get_logger()


def outcome_of(error: ServiceError | None) -> Outcome:
    match error:
        case None:
            return Outcome.COMPLETED
        case TurnTimedOut():
            return Outcome.TIMED_OUT
        case _:
            return Outcome.FAILED


def minimal_ending(
    turn: TurnKey, outcome: Outcome, error_code: str | None, calls: Sequence[ModelCall] = ()
) -> Ending:
    """An ending without the model's text, so that no text can make the store refuse it."""
    ending = Ending(
        owner=turn.owner,
        turn_id=turn.id,
        outcome=outcome,
        messages=(),
        log=b"",
        error_code=error_code,
        calls=tuple(calls),
    )
    return replace(ending, log=encode([failure(StorageError()), outcome_event(ending), End()]))


def whole_ending(
    minimal: Ending, turn: Turn, first_chunk_seconds: float | None, shown: Sequence[Logged]
) -> Ending:
    """Add messages, usage and timings to a minimal ending.

    The stored log holds the events in `shown`, then `outcome` and `end`.
    """
    ending = replace(
        minimal,
        messages=turn.messages,
        finish_reason=turn.finish_reason,
        model=turn.model,
        rounds=turn.rounds,
        usage=turn.usage,
        first_chunk_seconds=first_chunk_seconds,
        characters_per_token=turn.characters_per_token,
    )
    return replace(ending, log=encode([*shown, outcome_event(ending), End()]))


def refused_ending(turn: TurnKey, error: StorageError) -> Ending:
    """The ending of a refused turn whose claim may have been committed nevertheless."""
    ending = minimal_ending(turn, Outcome.FAILED, error.code)
    # Refused turns have no `outcome` event, because no client has seen them start.
    return replace(ending, log=encode([failure(error), End()]))


def taken_over(ending: Ending) -> Ending:
    """The ending as another worker stored it when it took over the session: as failed."""
    error_code = ending.error_code or StorageError.code
    return replace(ending, outcome=Outcome.FAILED, error_code=error_code)


def outcome_event(ending: Ending) -> TurnOutcome:
    usage = ending.usage
    return TurnOutcome(
        outcome=ending.outcome.value,
        finish_reason=ending.finish_reason,
        model=ending.model,
        rounds=ending.rounds,
        usage=TokenUsage(
            prompt_tokens=usage.input_tokens,
            completion_tokens=usage.output_tokens,
            total_tokens=usage.input_tokens + usage.output_tokens,
        ),
    )


def report(
    ending: Ending,
    turn: Turn,
    span: tracing.Span,
    *,
    transport: Transport,
    seconds: Mapping[Part, float],
    tally: CallTally,
    is_stored: bool,
    was_lost: bool,
) -> None:
    """Report the ending to metrics, trace and log, with the seconds of the turn by part.

    `was_lost` says that another worker took this one for dead, and has counted the turn.
    """
    kept_traces.note_end(span, sum(seconds.values()), error=ending.error_code)
    metrics.turn_ended(
        ending.outcome,
        transport,
        error=ending.error_code,
        seconds=seconds,
        rounds=turn.rounds,
        was_lost=was_lost,
    )
    spent = spent_by(ending.calls)
    metrics.client_spent(
        turn.caller.key_name, tokens=spent.usage.total_tokens, cost_usd=spent.cost_usd
    )
    tracing.end_turn(
        span,
        outcome=ending.outcome,
        error=ending.error_code,
        model=ending.model,
        rounds=ending.rounds,
        input_tokens=ending.usage.input_tokens,
        output_tokens=ending.usage.output_tokens,
        seconds=seconds,
        content=_content(ending, turn) if is_captured(turn.purpose) else {},
    )
    logger.log(
        logging.WARNING if has_failed(ending) or not is_stored else logging.INFO,
        "turn_finished",
        turn=ending.turn_id,
        transport=transport,
        outcome=ending.outcome,
        error=ending.error_code,
        is_stored=is_stored,
        finish_reason=ending.finish_reason,
        model=ending.model,
        rounds=ending.rounds,
        **tally.fields,
        tools=sum(message.role is Role.TOOL for message in turn.messages),
        input_tokens=ending.usage.input_tokens,
        output_tokens=ending.usage.output_tokens,
        cached_input_tokens=ending.usage.cached_input_tokens,
        reasoning_tokens=ending.usage.reasoning_tokens,
        estimated_tokens=spent.estimated_tokens,
        cost_usd=None if spent.unpriced_tokens else spent.cost_usd,
        first_chunk_seconds=_rounded(ending.first_chunk_seconds),
        **{f"{part}_seconds": _rounded(spent) for part, spent in seconds.items()},
        seconds=_rounded(sum(seconds.values())),
    )


def _content(ending: Ending, turn: Turn) -> dict[str, str]:
    reason = turn.finish_reason if ending.outcome is Outcome.COMPLETED else None
    return turn_content(turn.question, turn.messages, reason)


def has_failed(ending: Ending) -> bool:
    """Whether the turn failed, and was not ended by its client or by somebody who stopped it."""
    return ending.outcome in (Outcome.FAILED, Outcome.TIMED_OUT)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
