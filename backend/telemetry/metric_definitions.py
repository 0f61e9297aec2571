"""The names of all metrics, with their labels, buckets and modes; README lists the same.

Series exist from the start, at 0: one that appears with its first event has lost it for
every `rate()`. A live mode forgets a worker's value when the worker is gone.
"""

from itertools import product

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

# A second series for each of ours, which nobody asked for.
disable_created_metrics()  # type: ignore[no-untyped-call]

OUTCOMES = ("completed", "failed", "disconnected", "cancelled", "timed_out")
TRANSPORTS = ("sse", "websocket")
WINDOWS = ("before_first_chunk", "streaming", "tool")
ATTEMPT_OUTCOMES = (
    "ok",
    "cancelled",
    "internal_error",
    "upstream_unavailable",
    "upstream_busy",
    "overloaded",
    "upstream_connect_timeout",
    "upstream_first_byte_timeout",
    "upstream_gap_timeout",
    "upstream_refused",
    "upstream_request_too_large",
    "upstream_garbled",
    "upstream_tool_use_failed",
)
REPAIR_OUTCOMES = ("rescued", "text", "asked_again", "lost")
TOOL_OUTCOMES = ("ok", "refused", "invalid", "failed", "timed_out")
TOKEN_TYPES = ("input", "output")
LIMITS = ("session", "client", "network", "sessions", "streams", "readers", "sockets")

CALL_SECONDS = [0.01 * 2**n for n in range(14)]
"""0.01 to 81.92, as the OpenTelemetry conventions for generative AI advise."""
TURN_SECONDS = [0.1 * 2**n for n in range(13)]
OUR_SECONDS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5]

# The turn
agent_seconds = Histogram(
    "gen_ai_invoke_agent_duration_seconds",
    "Turns, from the claim of the session to the end of the stream",
    ["outcome"],
    buckets=TURN_SECONDS,
)
turns = Counter("lex_turns", "Turns, by how they ended", ["outcome", "transport"])
rounds = Histogram("lex_turn_rounds", "Completions of a turn", buckets=[1, 2, 3, 4, 6, 8])
overhead_seconds = Histogram(
    "lex_overhead_seconds",
    "What a turn took beyond waiting for the upstream and for tools",
    buckets=OUR_SECONDS,
)

# The upstream
call_seconds = Histogram(
    "gen_ai_client_operation_duration_seconds",
    "Calls of a model, by how they ended",
    ["model", "outcome"],
    buckets=CALL_SECONDS,
)
call_first_chunk_seconds = Histogram(
    "gen_ai_client_operation_time_to_first_chunk_seconds",
    "From a call of a model to its first text or tool call",
    ["model"],
    buckets=CALL_SECONDS,
)
tokens = Histogram(
    "gen_ai_client_token_usage",
    "Tokens of a call, as the upstream reports them",
    ["model", "type"],
    buckets=[4**n for n in range(14)],
)
first_byte_seconds = Histogram(
    "lex_upstream_first_byte_seconds",
    "From a call of a model to the first byte of its stream",
    ["model"],
    buckets=CALL_SECONDS,
)
queue_seconds = Histogram(
    "lex_upstream_queue_seconds",
    "What a call waited at the upstream, as the upstream reports it",
    ["model"],
    buckets=CALL_SECONDS,
)
tokens_per_second = Histogram(
    "lex_upstream_tokens_per_second",
    "Output tokens of a call by the time the upstream says it wrote, or else by the time it took",
    ["model"],
    buckets=[10, 25, 50, 100, 200, 300, 500, 1000, 2000],
)
attempts = Counter(
    "lex_upstream_attempts", "Calls of a model, by how they ended", ["model", "outcome"]
)
repairs = Counter(
    "lex_upstream_rescued_calls",
    "Tool calls that the upstream could not read, by what became of them",
    ["outcome"],
)
retired = Gauge(
    "lex_model_retired",
    "1 while a model is left out since the upstream does not serve it to us",
    ["model"],
    multiprocess_mode="livemax",
)
breaker = Gauge(
    "lex_breaker_state",
    "Circuit breaker of a model: 0 closed, 1 half open, 2 open",
    ["model"],
    multiprocess_mode="livemax",
)
budget = Gauge(
    "lex_upstream_budget_remaining",
    "What the upstream says is left of a rate: requests of the day, tokens of the minute",
    ["model", "kind"],
    multiprocess_mode="livemin",
)
budget_limit = Gauge(
    "lex_upstream_budget_limit",
    "The whole of such a rate, as the upstream says",
    ["model", "kind"],
    multiprocess_mode="livemax",
)

# Tools
tool_seconds = Histogram(
    "gen_ai_execute_tool_duration_seconds",
    "Tool calls, by how they ended",
    ["tool", "outcome"],
    buckets=[0.001, 0.005, *CALL_SECONDS],
)
tool_calls = Counter("lex_tool_calls", "Tool calls, by how they ended", ["tool", "outcome"])

# Streams and their clients
first_chunk_seconds = Histogram(
    "lex_time_to_first_chunk_seconds",
    "From the arrival of a query to its first chunk on the way to the client",
    ["transport"],
    buckets=[0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30],
)
streams = Gauge(
    "lex_streams_open",
    "Turns that are being sent to a client",
    ["transport"],
    multiprocess_mode="livesum",
)
followers = Gauge("lex_followers", "Readers of the logs of turns", multiprocess_mode="livesum")
slots = Gauge("lex_slots_free", "Turns that may still be started", multiprocess_mode="livesum")
disconnects = Counter(
    "lex_stream_disconnects",
    "Streams whose client left before their end, by what it was waiting for",
    ["window"],
)
resumes = Counter("lex_resumed_streams", "Streams of turns that had been asked for before")
heartbeats = Counter("lex_heartbeats", "Comments sent to keep idle connections open")
slow_clients = Counter("lex_slow_clients", "Streams cut because their client did not read them")

# Refusals
refusals = Counter(
    "lex_refusals", "What was asked and refused, by the code of the refusal", ["code"]
)
rate_limited = Counter(
    "lex_rate_limited",
    "What a client asked or opened once too often, by the limit that said so",
    ["limit"],
)
shared_limits = Gauge(
    "lex_shared_limits_available",
    "1 while the workers count requests together, 0 while each counts for itself",
    multiprocess_mode="livemin",
)

# The worker and what it stands on
draining = Gauge("lex_draining", "1 while the service leaves", multiprocess_mode="livemax")
redis = Gauge(
    "lex_redis_up",
    "1 while logs are shared through Redis; 0 while that fails, and without Redis",
    multiprocess_mode="livemin",
)
store = Gauge(
    "lex_store_up",
    "1 while the leases of all workers can be renewed",
    multiprocess_mode="livemin",
)
retention = Gauge(
    "lex_retention_refused",
    "1 while nothing old is forgotten, since the clocks of a worker and of the store differ",
    multiprocess_mode="livemax",
)
waiting = Gauge(
    "lex_workers_waiting",
    "Workers that wait for the store before they begin to serve",
    multiprocess_mode="livesum",
)
store_seconds = Histogram(
    "lex_store_transaction_seconds",
    "Transactions of the database, with their wait for a connection",
    ["operation"],
    buckets=OUR_SECONDS,
)
loop_lag_seconds = Histogram(
    "lex_event_loop_lag_seconds",
    "How late a timer of the event loop went off",
    buckets=OUR_SECONDS,
)
build = Gauge(
    "lex_build_info",
    "1, and in its labels what is running",
    ["version", "revision"],
    multiprocess_mode="livemax",
)

# A worker says so before it waits for its store, so one that has begun could reach it.
store.set(1)
agent_seconds.labels("completed")
for _outcome, _transport in product(OUTCOMES, TRANSPORTS):
    turns.labels(_outcome, _transport)
for _transport in TRANSPORTS:
    first_chunk_seconds.labels(_transport)
    streams.labels(_transport)
for _window in WINDOWS:
    disconnects.labels(_window)
for _limit in LIMITS:
    rate_limited.labels(_limit)
for _outcome in REPAIR_OUTCOMES:
    repairs.labels(_outcome)
