"""Report a turn that was lost with its worker. The worker that closes the turn reports it."""

import structlog
from opentelemetry import trace

from backend.telemetry import identity, metrics, tracing

logger = structlog.get_logger()


def report(turn_id: str, *, session_id: str, traceparent: str | None) -> None:
    """Count the turn, log it, and add a failed span to its trace, which has lost all others."""
    metrics.turn_was_lost()
    span = tracing.begin_loss(turn_id, session_id=session_id, traceparent=traceparent)
    named = {identity.SESSION_HASH: identity.hash_of_session(session_id)}
    span.set_attribute(identity.ATTRIBUTES[identity.SESSION_HASH], named[identity.SESSION_HASH])
    with trace.use_span(span):
        logger.warning("turn_lost", turn=turn_id, error=tracing.WORKER_LOST, **named)
    span.end()
