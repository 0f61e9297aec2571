"""How a turn ended: as it is stored, as its stream tells it, and as it is reported.

All of them are made of one `Ending`, so that they say the same.
"""

from collections.abc import Sequence
from dataclasses import replace

import structlog

from backend.agent.loop import Turn
from backend.domain.conversation import Outcome, Role
from backend.domain.errors import ServiceError, StorageError, TurnTimedOut
from backend.domain.events import End, Logged, TokenUsage, Transport, TurnOutcome, encode, failure
from backend.storage.ports.sessions import Ending
from backend.telemetry import metrics, tracing

logger = structlog.get_logger()


def outcome_of(error: ServiceError | None) -> Outcome:
    match error:
        case None:
            return Outcome.COMPLETED
        case TurnTimedOut():
            return Outcome.TIMED_OUT
        case _:
            return Outcome.FAILED


def minimal_ending(turn_id: str, outcome: Outcome, error_code: str | None) -> Ending:
    """An ending that can always be stored: a store could choke on nothing in it."""
    ending = Ending(turn_id=turn_id, outcome=outcome, messages=(), log=b"", error_code=error_code)
    return replace(ending, log=encode([failure(StorageError()), outcome_event(ending), End()]))


def whole_ending(
    minimal: Ending, turn: Turn, first_chunk_seconds: float | None, shown: Sequence[Logged]
) -> Ending:
    """The same with all that the turn leaves behind. Its log is what was shown, and the end."""
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


def refused_ending(turn_id: str, error: StorageError) -> Ending:
    """Of a turn that was refused, and whose claim may have been committed all the same."""
    ending = minimal_ending(turn_id, Outcome.FAILED, error.code)
    # A refusal has no outcome: there was no turn.
    return replace(ending, log=encode([failure(error), End()]))


def taken_over(ending: Ending) -> Ending:
    """The ending of a turn that lost its session: another worker has stored it as failed."""
    error_code = ending.error_code or StorageError.code
    return replace(ending, outcome=Outcome.FAILED, error_code=error_code)


def outcome_event(ending: Ending) -> TurnOutcome:
    """The ending as the stream tells it, in the words that are stored."""
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
    seconds: float,
    is_stored: bool,
) -> None:
    """Tell metrics, the trace and the log. `seconds` is what the turn took from its start."""
    metrics.turn_ended(
        ending.outcome,
        transport,
        seconds=seconds,
        waited_seconds=turn.on_upstream.seconds + turn.on_tools.seconds,
        rounds=turn.rounds,
    )
    tracing.end_turn(
        span,
        outcome=ending.outcome,
        error=ending.error_code,
        model=ending.model,
        rounds=ending.rounds,
        input_tokens=ending.usage.input_tokens,
        output_tokens=ending.usage.output_tokens,
    )
    logger.info(
        "turn_finished",
        turn=ending.turn_id,
        transport=transport,
        outcome=ending.outcome,
        error=ending.error_code,
        is_stored=is_stored,
        finish_reason=ending.finish_reason,
        model=ending.model,
        rounds=ending.rounds,
        tools=sum(message.role is Role.TOOL for message in turn.messages),
        input_tokens=ending.usage.input_tokens,
        output_tokens=ending.usage.output_tokens,
        first_chunk_seconds=_rounded(ending.first_chunk_seconds),
        upstream_seconds=_rounded(turn.on_upstream.seconds),
        tool_seconds=_rounded(turn.on_tools.seconds),
        seconds=_rounded(seconds),
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
