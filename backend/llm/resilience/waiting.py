"""Accounts for the time in which a turn waits until it may call a model again."""

from collections.abc import Iterator
from contextlib import contextmanager

from backend.domain.errors import UpstreamBusy, UpstreamError
from backend.telemetry import call_tally, turn_clock, wait_spans
from backend.telemetry.turn_clock import Part


@contextmanager
def waiting(model: str, after: UpstreamError) -> Iterator[None]:
    """Count a `with` block as a wait for the model, and record it as a span. `after` is its reason.

    Use it in a coroutine, not across the `yield` of a generator.
    """
    call_tally.waited()
    with turn_clock.part(Part.RATE_WAIT), wait_spans.waited(model, _reason(after)):
        yield


def _reason(error: UpstreamError) -> str:
    if isinstance(error, UpstreamBusy):
        return "rate_limit"
    return "back_off" if error.was_asked else "circuit_breaker"
