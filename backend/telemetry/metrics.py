"""Updates the metrics: one function per kind of event.

Each is cheap enough for every turn, call or transaction, but not for every token.

Counters are created at the start with all values of their labels, because `rate()` misses the
first event of a series that did not exist before. Histograms by error or purpose are created for
successes of turns only: each adds some fifteen lines to every scrape, and counters show the rest.
"""

import time
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from prometheus_client.metrics import MetricWrapperBase

from backend.telemetry import genai_names, identity, kept_traces
from backend.telemetry import metric_definitions as series
from backend.telemetry.turn_clock import Part

OURS = (Part.STORE, Part.LEX, Part.EVENT_LOOP, Part.UNATTRIBUTED)
"""The parts of a turn that make up `lex_overhead_seconds`."""

UNKNOWN_TOOL = "unknown"
"""The label for tools that do not exist: models invent names, and labels must stay few."""

# One per process, like the metrics.
_provider = ""
_known: dict[tuple[MetricWrapperBase, tuple[str, ...]], Any] = {}

M = TypeVar("M", bound=MetricWrapperBase)


def prepare_provider(name: str) -> None:
    """Name the provider of all models. Call it before the first `prepare_model`."""
    global _provider  # noqa: PLW0603 - metrics are global as well
    _provider = name


def prepare_build(*, version: str, revision: str) -> None:
    series.build.labels(version, revision).set(1)


def prepare_model(model: str) -> None:
    """Create the series of a model, except its budgets, which its first answer will tell."""
    series.call_seconds.labels(*_call(model), "", "turn")
    series.call_first_chunk_seconds.labels(*_call(model), "turn")
    series.chunk_seconds.labels(*_call(model), "turn")
    for histogram in (series.first_byte_seconds, series.queue_seconds, series.tokens_per_second):
        histogram.labels(model)
    for token_type in series.TOKEN_TYPES:
        series.tokens.labels(*_call(model), token_type)
    for purpose in series.PURPOSES:
        for outcome in series.ATTEMPT_OUTCOMES:
            series.attempts.labels(model, outcome, purpose)
        for reason in series.FINISH_REASONS:
            series.completions.labels(model, reason, purpose)
        for kind in series.USAGE_KINDS:
            series.call_tokens.labels(model, kind, purpose)
        for counter in (series.estimated_tokens, series.unpriced_tokens, series.cost):
            counter.labels(model, purpose)
    series.retired.labels(model).set(0)
    series.breaker.labels(model).set(0)
    series.upstream_waiting.labels(model).set(0)


def prepare_tools(names: Iterable[str]) -> None:
    for name in names:
        for outcome in series.TOOL_OUTCOMES:
            series.tool_calls.labels(name, outcome)
        series.tool_seconds.labels(genai_names.LEX, name, "")
    series.tool_calls.labels(UNKNOWN_TOOL, "invalid")


def turn_ended(
    outcome: str,
    transport: str,
    *,
    error: str | None,
    seconds: Mapping[Part, float],
    rounds: int,
    was_lost: bool = False,
) -> None:
    """Count a turn and its seconds by part. Other workers have counted a turn that `was_lost`."""
    total = sum(seconds.values())
    if not was_lost:
        _of(series.turns, outcome, transport).inc()
    _of(series.agent_seconds, genai_names.LEX, error or "").observe(total, _exemplar())
    series.overhead_seconds.observe(sum(seconds[part] for part in OURS))
    for part, spent in seconds.items():
        if spent:
            _of(series.part_seconds, part).inc(spent)
    series.rounds.observe(rounds)


def upstream_attempted(
    model: str,
    outcome: str,
    *,
    purpose: str,
    seconds: float,
    first_chunk_seconds: float | None = None,
    seconds_per_token: float | None = None,
    finish_reason: str | None = None,
) -> None:
    """Count an attempt. Pass None for what an attempt that broke off has not."""
    _of(series.attempts, model, outcome, purpose).inc()
    call = _call(model)
    _of(series.call_seconds, *call, _error_type(outcome), purpose).observe(seconds)
    if first_chunk_seconds is not None:
        _of(series.call_first_chunk_seconds, *call, purpose).observe(first_chunk_seconds)
    if seconds_per_token is not None:
        _of(series.chunk_seconds, *call, purpose).observe(seconds_per_token)
    if finish_reason is not None:
        _of(series.completions, model, finish_reason, purpose).inc()


def model_called(
    model: str,
    purpose: str,
    *,
    tokens: Mapping[str, int],
    is_estimated: bool,
    cost_usd: float | None,
) -> None:
    """Count a call that has ended. `tokens` are by `USAGE_KINDS`; no cost means no price."""
    for kind, number in tokens.items():
        _of(series.call_tokens, model, kind, purpose).inc(number)
    total = tokens["input"] + tokens["output"]
    if is_estimated:
        _of(series.estimated_tokens, model, purpose).inc(total)
    if cost_usd is None:
        _of(series.unpriced_tokens, model, purpose).inc(total)
    else:
        _of(series.cost, model, purpose).inc(cost_usd)


def client_spent(key_name: str | None, *, tokens: int, cost_usd: float) -> None:
    """Count a turn for its client. The names of API keys are few, because operators write them."""
    client = series.WITHOUT_KEY if key_name is None else key_name
    _of(series.client_tokens, client).inc(tokens)
    _of(series.client_cost, client).inc(cost_usd)


class UpstreamAnswer:
    """Measures the answer to one model call. Create it when the call is sent."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._asked_at = self._begun_at = time.perf_counter()

    def began(self) -> None:
        """The first byte arrived."""
        self._begun_at = time.perf_counter()
        waited = self._begun_at - self._asked_at
        _of(series.first_byte_seconds, self._model).observe(waited, _exemplar())

    def is_whole(
        self,
        *,
        input_tokens: int,
        output_tokens: int,
        queue_seconds: float | None,
        writing_seconds: float | None,
    ) -> None:
        """The answer is complete. Pass None for times that the upstream does not report."""
        _of(series.tokens, *_call(self._model), "input").observe(input_tokens)
        _of(series.tokens, *_call(self._model), "output").observe(output_tokens)
        if queue_seconds is not None:
            _of(series.queue_seconds, self._model).observe(queue_seconds)
        seconds = writing_seconds or time.perf_counter() - self._begun_at
        if output_tokens and seconds:
            _of(series.tokens_per_second, self._model).observe(output_tokens / seconds)


def tool_call_repaired(outcome: str) -> None:
    _of(series.repairs, outcome).inc()


def model_away(model: str) -> None:
    series.retired.labels(model).set(1)


def model_back(model: str) -> None:
    series.retired.labels(model).set(0)


def breaker_changed(model: str, state: int) -> None:
    _of(series.breaker, model).set(state)


def turns_wait(model: str, number: int) -> None:
    _of(series.upstream_waiting, model).set(number)


def budget_noted(model: str, kind: str, *, remaining: int, limit: int | None) -> None:
    _of(series.budget, model, kind).set(remaining)
    if limit is not None:
        _of(series.budget_limit, model, kind).set(limit)


def tool_called(tool: str, outcome: str, seconds: float) -> None:
    _of(series.tool_calls, tool, outcome).inc()
    labels = genai_names.LEX, tool, _error_type(outcome)
    _of(series.tool_seconds, *labels).observe(seconds, _exemplar())


def stream_opened(transport: str) -> None:
    _of(series.streams, transport).inc()


def stream_closed(transport: str) -> None:
    _of(series.streams, transport).dec()


def first_chunk_sent(transport: str, seconds: float) -> None:
    _of(series.first_chunk_seconds, transport).observe(seconds, _exemplar())


def turn_was_lost() -> None:
    series.lost_turns.inc()


def first_chunk_missed(outcome: str, transport: str) -> None:
    _of(series.missed_first_chunks, outcome, transport).inc()


def stream_resumed() -> None:
    series.resumes.inc()


def client_left(window: str) -> None:
    _of(series.disconnects, window).inc()


def client_was_slow() -> None:
    series.slow_clients.inc()


def heartbeat_sent() -> None:
    series.heartbeats.inc()


def follower_came() -> None:
    series.followers.inc()


def follower_left() -> None:
    series.followers.dec()


def slots_free(number: int) -> None:
    series.slots.set(number)


def budget_exhausted(kind: str) -> None:
    _of(series.budget_refusals, kind).inc()


def prepare_drain(*, limit_seconds: float) -> None:
    """`limit_seconds` is the time after which no turn runs in a drain."""
    series.draining.set(0)
    series.drain_started.set(0)
    series.drain_limit.set(limit_seconds)


def drain_began() -> None:
    series.draining.set(1)
    series.drain_started.set(time.time())


def redis_is_up(*, is_up: bool) -> None:
    series.redis.set(is_up)


def prepare_refusals(codes: Iterable[str]) -> None:
    for code in codes:
        series.refusals.labels(code)


def refused(code: str) -> None:
    _of(series.refusals, code).inc()


def rate_limited(limit: str) -> None:
    _of(series.rate_limited, limit).inc()


def shared_limits_changed(is_available: bool) -> None:  # noqa: FBT001 - its only argument
    series.shared_limits.set(is_available)


def store_is_up(*, is_up: bool) -> None:
    series.store.set(is_up)


def retention_is_refused(*, is_refused: bool) -> None:
    series.retention.set(is_refused)


def worker_waits(*, is_waiting: bool) -> None:
    series.waiting.set(is_waiting)


def transaction_ended(operation: str, seconds: float) -> None:
    _of(series.store_seconds, operation).observe(seconds)


def flushes_paused(seconds: float) -> None:
    series.flush_interval.set(seconds)


def loop_lagged(seconds: float) -> None:
    series.loop_lag_seconds.observe(seconds)


def _of(metric: M, *labels: str) -> M:
    """Return the series with these values of its labels.

    `metric.labels` checks and converts them, which takes ten times as long.
    """
    key = metric, labels
    found: M | None = _known.get(key)
    if found is None:
        found = _known[key] = metric.labels(*labels)
    return found


def _call(model: str) -> tuple[str, str, str]:
    """The values of the labels `CALL`."""
    return genai_names.CHAT, _provider, model


def _error_type(outcome: str) -> str:
    """The same as the span's `error.type`; empty without one. A tool's refusal is no error."""
    return "" if outcome in ("ok", "refused") else outcome


def _exemplar() -> dict[str, str] | None:
    """The current trace, if it is sent, with the hashes of its client and session.

    With several workers, the client library drops it.
    """
    trace_id = kept_traces.current_trace_id()
    if trace_id is None:
        return None
    known = identity.known()
    named = {name: known[name] for name in identity.EXEMPLARS if name in known}
    return {"trace_id": trace_id, **named}
