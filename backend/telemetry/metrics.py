"""The names of all metrics, and how they are counted. Labels exist from the start, at 0:
a series that appears with its first event has lost it for every `rate()`.
"""

from collections.abc import Iterable

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, Counter, Gauge, generate_latest

CONTENT_TYPE = CONTENT_TYPE_LATEST

ATTEMPT_OUTCOMES = (
    "ok",
    "cancelled",
    "upstream_unavailable",
    "upstream_busy",
    "upstream_connect_timeout",
    "upstream_first_byte_timeout",
    "upstream_gap_timeout",
    "upstream_refused",
    "upstream_request_too_large",
    "upstream_garbled",
    "upstream_tool_use_failed",
)
LIMITS = ("session", "client", "streams")
RESCUE_OUTCOMES = ("rescued", "text", "asked_again", "lost")

_attempts = Counter(
    "lex_upstream_attempts", "Calls of a model, by how they ended", ["model", "outcome"]
)
_rescued = Counter(
    "lex_upstream_rescued_calls",
    "Tool calls that the upstream could not read, by what became of them",
    ["outcome"],
)
_retired = Gauge(
    "lex_model_retired",
    "1 for a model that the upstream no longer serves",
    ["model"],
    multiprocess_mode="livemax",
)
_breaker = Gauge(
    "lex_breaker_state",
    "Circuit breaker of a model: 0 closed, 1 half open, 2 open",
    ["model"],
    multiprocess_mode="livemax",
)
_budget = Gauge(
    "lex_upstream_budget_remaining",
    "What the upstream says is left of a rate: requests of the day, tokens of the minute",
    ["model", "kind"],
    multiprocess_mode="livemin",
)

_redis = Gauge(
    "lex_redis_up",
    "1 while logs are shared through Redis; 0 while that fails, and without Redis",
    multiprocess_mode="livemin",
)

_refusals = Counter(
    "lex_refusals", "What was asked and refused, by the code of the refusal", ["code"]
)
_rate_limited = Counter(
    "lex_rate_limited", "Queries that were one too many, by the limit that said so", ["limit"]
)
_shared_limits = Gauge(
    "lex_shared_limits_available",
    "1 while the workers count requests together, 0 while each counts for itself",
    multiprocess_mode="livemin",
)

for _limit in LIMITS:
    _rate_limited.labels(_limit)
for _outcome in RESCUE_OUTCOMES:
    _rescued.labels(_outcome)


def prepare_model(model: str) -> None:
    """Make the series of a model. What is left of its rates is not known before it was asked."""
    for outcome in ATTEMPT_OUTCOMES:
        _attempts.labels(model, outcome)
    _retired.labels(model).set(0)
    _breaker.labels(model).set(0)


def upstream_attempted(model: str, outcome: str) -> None:
    _attempts.labels(model, outcome).inc()


def call_rescued(outcome: str) -> None:
    _rescued.labels(outcome).inc()


def model_retired(model: str) -> None:
    _retired.labels(model).set(1)


def breaker_changed(model: str, state: int) -> None:
    _breaker.labels(model).set(state)


def budget_noted(model: str, kind: str, remaining: int) -> None:
    _budget.labels(model, kind).set(remaining)


def redis_is_up(*, is_up: bool) -> None:
    _redis.set(is_up)


def prepare_refusals(codes: Iterable[str]) -> None:
    for code in codes:
        _refusals.labels(code)


def refused(code: str) -> None:
    _refusals.labels(code).inc()


def rate_limited(limit: str) -> None:
    _rate_limited.labels(limit).inc()


def shared_limits_changed(is_available: bool) -> None:  # noqa: FBT001 - it is all it says
    _shared_limits.set(is_available)


def exposition() -> bytes:
    """All of it, in Prometheus' text format."""
    return generate_latest(REGISTRY)
