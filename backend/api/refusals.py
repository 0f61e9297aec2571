"""Count refusals, and tell logs and traces their code and limit.

A refused HTTP request or handshake has them in its access line, and in its span. A WebSocket can be
refused many times, so each of its refused messages has a line of its own.
"""

import logging
from contextvars import ContextVar
from dataclasses import dataclass

import structlog

from backend.domain.errors import Refusal, ServiceError, TooManyRequests
from backend.telemetry import metrics, server_span

logger = structlog.get_logger()

FIRST_REFUSAL, FIRST_FAILURE = 400, 500
"""The statuses from which on a request is refused, and the fault is ours."""

OTHER_CODE = "refused"


@dataclass(slots=True)
class Refused:
    """How the current request was refused; `error` is None if it was not."""

    error: str | None = None
    limit: str | None = None
    is_failure: bool = False

    def broke(self) -> None:
        """The request has raised an exception."""
        self.error, self.is_failure = ServiceError.code, True

    def answered(self, status: int | None) -> None:
        """The request has got this status, perhaps from a library that names no refusal."""
        if status is None or status < FIRST_REFUSAL:
            return
        self.error = self.error or OTHER_CODE
        self.is_failure |= status >= FIRST_FAILURE


_request: ContextVar[Refused | None] = ContextVar("refused", default=None)


def begin() -> Refused:
    """Begin a request. The result will tell whether it was refused."""
    refused = Refused()
    _request.set(refused)
    return refused


def request_refused(code: str, *, status: int, limit: str | None = None) -> None:
    """The current request, or handshake, is refused."""
    metrics.refused(code)
    server_span.request_refused(code, limit=limit)
    if (refused := _request.get()) is not None:
        refused.error, refused.limit = code, limit
        refused.is_failure = status >= FIRST_FAILURE


def turn_failed(code: str) -> None:
    """The current request gets an error as its status because its turn failed, with this code.

    That is no refusal: metrics count it as the outcome of a turn.
    """
    if (refused := _request.get()) is not None:
        refused.error, refused.is_failure = code, True


def refused_for(error: ServiceError) -> None:
    """The current request, or handshake, is refused because of this error."""
    request_refused(error.code, status=status_of(error), limit=limit_of(error))


def message_refused(error: ServiceError) -> None:
    """A message on the current WebSocket is refused. The connection may stay open."""
    metrics.refused(error.code)
    limit = limit_of(error)
    server_span.message_refused(error.code, limit=limit)
    level = logging.WARNING if status_of(error) >= FIRST_FAILURE else logging.INFO
    logger.log(level, "message_refused", error=error.code, limit=limit)


def status_of(error: ServiceError) -> int:
    return error.status if isinstance(error, Refusal) else 503


def limit_of(error: ServiceError) -> str | None:
    return error.limit if isinstance(error, TooManyRequests) else None
