"""The spans of waits: for a model that may not be called yet, and for the database."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.trace import SpanKind

from backend.telemetry import tracing

SLOW_TRANSACTION_SECONDS = 0.25
"""Faster transactions get no span; a histogram counts all. It is an eighth of the two seconds in
which a first chunk should arrive, since the claim of the session comes before it."""


@contextmanager
def waited(model: str, reason: str) -> Iterator[None]:
    """Record a span for a wait of the turn until `model` may be called again.

    Use it in a coroutine, not across the `yield` of a generator.
    """
    span = tracing.start(
        f"wait {model}", attributes={"lex.wait.model": model, "lex.wait.reason": reason}
    )
    try:
        yield
    finally:
        span.end()


@contextmanager
def transaction(name: str, *, failures: tuple[type[Exception], ...]) -> Iterator[None]:
    """Record a span for a store transaction, its wait for a thread included, if it is worth one.

    Only failed or slow ones within a trace get a span; otherwise they would be two of a turn's
    five. Exceptions other than `failures` are normal answers, such as that the session is busy, or
    cancellations.
    """
    begun, failed = time.time_ns(), ""
    try:
        yield
    except failures as error:
        failed = type(error).__name__
        raise
    finally:
        is_slow = time.time_ns() - begun >= SLOW_TRANSACTION_SECONDS * 1e9
        if (failed or is_slow) and trace.get_current_span().is_recording():
            span = tracing.start(f"store {name}", kind=SpanKind.CLIENT, start_time=begun)
            if failed:
                tracing.fail(span, failed)
            span.end()
