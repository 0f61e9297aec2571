"""All metrics with their labels, buckets and aggregation; docs/observability.md lists the same.

The texts are shown by Grafana. A `live…` mode aggregates gauges over running workers only; the
value of a worker that has ended is dropped. Metrics without labels, and with labels known here,
are created at import; `metrics` creates those of models, tools and refusals.
"""

from itertools import product

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

from backend.telemetry import genai_names as names
from backend.telemetry.turn_clock import Part

# Otherwise each counter and histogram would have a second series, `…_created`.
disable_created_metrics()  # type: ignore[no-untyped-call]

OUTCOMES = ("completed", "failed", "disconnected", "cancelled", "timed_out")
TRANSPORTS = ("sse", "websocket", "ai_sdk", "ag_ui", "openai")
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
USAGE_KINDS = ("input", "cached", "output", "reasoning")
PURPOSES = ("turn", "summary", "front_end")
FINISH_REASONS = ("stop", "length", "tool_calls", "content_filter", "other")
BUDGETS = ("session_tokens", "client_tokens", "client_cost")
LIMITS = ("session", "client", "network", "sessions", "streams", "readers", "sockets")

AGENT_NAME = "lex"
WITHOUT_KEY = "without a key"
"""The label of all clients that have no API key."""

CALL_SECONDS = [0.01 * 2**n for n in range(14)]
"""0.01 to 81.92, as OpenTelemetry's conventions for generative AI recommend."""
CHUNK_SECONDS = sorted([*CALL_SECONDS, 0.1])
"""The same, with the objective: ten tokens per second."""
TURN_SECONDS = [0.1, 0.2, 0.4, 0.8, 1.2, 1.6, 2, 2.5, 3.2, 4, 5, 6.4, 8, 10, 12.8, 18, 25.6, 36]
TURN_SECONDS += [51.2, 72, 102.4, 204.8, 409.6]
"""Dense between 1 s and 13 s: there a quantile is read at most a third too high."""
FIRST_CHUNK_SECONDS = [0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.25, 2.5, 3, 4, 5, 7.5]
FIRST_CHUNK_SECONDS += [10, 15, 30, 60]
"""Dense around the objective of 2 s: there a quantile is read at most 0.25 s too high."""
OUR_SECONDS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5]

AGENT = names.label(names.AGENT_NAME)
ERROR = names.label(names.ERROR_TYPE)
"""Empty for a success, which Prometheus takes for a missing label."""
MODEL = names.label(names.REQUEST_MODEL)
TOKEN_TYPE = names.label(names.TOKEN_TYPE)
TOOL = names.label(names.TOOL_NAME)
CALL = [names.label(names.OPERATION_NAME), names.label(names.PROVIDER_NAME), MODEL]
FINISH_REASON = names.label(names.RESPONSE_FINISH_REASONS).removesuffix("s")
"""One of the reasons in the attribute."""

# The turn
agent_seconds = Histogram(
    names.seconds(names.INVOKE_AGENT_DURATION),
    "Duration of a turn in seconds, from the claim of its session to its end, by error.",
    [AGENT, ERROR],
    buckets=TURN_SECONDS,
)
turns = Counter("lex_turns", "Ended turns, by outcome and transport.", ["outcome", "transport"])
lost_turns = Counter(
    "lex_turns_lost",
    "Turns whose worker died, counted by the worker that closed them. They have no outcome.",
)
rounds = Histogram("lex_turn_rounds", "Completions per turn.", buckets=[1, 2, 3, 4, 6, 8])
part_seconds = Counter(
    "lex_turn_part_seconds",
    "Seconds of ended turns, by the part that took them. The parts add up to the turns.",
    ["part"],
)
overhead_seconds = Histogram(
    "lex_overhead_seconds",
    "Time in seconds that Lex adds to a turn: its own work, its store and its event loop.",
    buckets=OUR_SECONDS,
)

# The upstream
call_seconds = Histogram(
    names.seconds(names.OPERATION_DURATION),
    "Duration of an attempt to call a model in seconds, by error.",
    [*CALL, ERROR, "purpose"],
    buckets=CALL_SECONDS,
)
call_first_chunk_seconds = Histogram(
    names.seconds(names.TIME_TO_FIRST_CHUNK),
    "Time in seconds from a call of a model to its first text or tool call.",
    [*CALL, "purpose"],
    buckets=CALL_SECONDS,
)
chunk_seconds = Histogram(
    names.seconds(names.TIME_PER_OUTPUT_CHUNK),
    "Time in seconds from one output token of a call to the next, on average over the call.",
    [*CALL, "purpose"],
    buckets=CHUNK_SECONDS,
)
completions = Counter(
    "lex_completions",
    "Complete answers of models, by the reason why the model stopped.",
    [MODEL, FINISH_REASON, "purpose"],
)
tokens = Histogram(
    names.label(names.TOKEN_USAGE),
    "Input or output tokens of a model call, as the upstream reports them.",
    [*CALL, TOKEN_TYPE],
    buckets=[4**n for n in range(14)],
)
call_tokens = Counter(
    "lex_tokens",
    "Tokens of model calls, reported or estimated; cached ones are input, reasoning is output.",
    [MODEL, TOKEN_TYPE, "purpose"],
)
estimated_tokens = Counter(
    "lex_tokens_estimated",
    "Tokens of model calls that were estimated, because the provider did not report them.",
    [MODEL, "purpose"],
)
unpriced_tokens = Counter(
    "lex_tokens_unpriced",
    "Tokens of models without a price, which the cost does not contain.",
    [MODEL, "purpose"],
)
cost = Counter(
    "lex_cost_usd",
    "Cost of model calls in USD, by the prices of the price file.",
    [MODEL, "purpose"],
)
client_tokens = Counter(
    "lex_client_tokens", "Tokens of turns, by the name of the client's API key.", ["client"]
)
client_cost = Counter(
    "lex_client_cost_usd",
    "Cost of turns in USD, by the name of the client's API key.",
    ["client"],
)
first_byte_seconds = Histogram(
    "lex_upstream_first_byte_seconds",
    "Time in seconds from a call of a model to the first byte of its stream.",
    [MODEL],
    buckets=CALL_SECONDS,
)
queue_seconds = Histogram(
    "lex_upstream_queue_seconds",
    "Time in seconds that a call waited in the upstream's queue, as the upstream reports it.",
    [MODEL],
    buckets=CALL_SECONDS,
)
tokens_per_second = Histogram(
    "lex_upstream_tokens_per_second",
    "Output tokens per second of a call, over the upstream's writing time or else its stream's.",
    [MODEL],
    buckets=[10, 25, 50, 100, 200, 300, 500, 1000, 2000],
)
attempts = Counter(
    "lex_upstream_attempts",
    "Attempts to call a model, by outcome.",
    [MODEL, "outcome", "purpose"],
)
repairs = Counter(
    "lex_upstream_rescued_calls",
    "Tool calls that the upstream could not parse or left in the text, by result of their repair.",
    ["outcome"],
)
retired = Gauge(
    "lex_model_retired",
    "1 while a model is left out because the upstream does not serve it, else 0.",
    [MODEL],
    multiprocess_mode="livemax",
)
breaker = Gauge(
    "lex_breaker_state",
    "State of a model's circuit breaker: 0 closed, 1 half open, 2 open.",
    [MODEL],
    multiprocess_mode="livemax",
)
budget = Gauge(
    "lex_upstream_budget_remaining",
    "Requests left today or tokens left this minute, as the upstream last reported.",
    [MODEL, "kind"],
    multiprocess_mode="livemin",
)
budget_limit = Gauge(
    "lex_upstream_budget_limit",
    "Requests allowed per day or tokens allowed per minute, as the upstream last reported.",
    [MODEL, "kind"],
    multiprocess_mode="livemax",
)
upstream_waiting = Gauge(
    "lex_upstream_waiting",
    "Turns that wait until a model's rate has room for them.",
    [MODEL],
    multiprocess_mode="livesum",
)

# Tools
tool_seconds = Histogram(
    names.seconds(names.EXECUTE_TOOL_DURATION),
    "Duration of a tool call in seconds, by error.",
    [AGENT, TOOL, ERROR],
    buckets=[0.001, 0.005, *CALL_SECONDS],
)
tool_calls = Counter("lex_tool_calls", "Tool calls, by outcome.", [TOOL, "outcome"])

# Streams and their clients
first_chunk_seconds = Histogram(
    "lex_time_to_first_chunk_seconds",
    "Time in seconds from the arrival of a query to sending its first chunk to the client.",
    ["transport"],
    buckets=FIRST_CHUNK_SECONDS,
)
missed_first_chunks = Counter(
    "lex_first_chunks_missed",
    "Turns whose client got no chunk after more than two seconds, by outcome and transport.",
    ["outcome", "transport"],
)
streams = Gauge(
    "lex_streams_open",
    "Turns that are being streamed to a client now.",
    ["transport"],
    multiprocess_mode="livesum",
)
followers = Gauge("lex_followers", "Readers of turns' event logs now.", multiprocess_mode="livesum")
slots = Gauge("lex_slots_free", "Turns that can still be started.", multiprocess_mode="livesum")
disconnects = Counter(
    "lex_stream_disconnects",
    "Streams whose client left before their end, by what it was waiting for.",
    ["window"],
)
resumes = Counter("lex_resumed_streams", "Streams that resume or replay an earlier turn.")
heartbeats = Counter("lex_heartbeats", "Heartbeat comments sent to keep idle connections open.")
slow_clients = Counter("lex_slow_clients", "Streams cut because the client read too slowly.")

# Refusals
refusals = Counter(
    "lex_refusals", "Requests refused before their stream began, by error code.", ["code"]
)
rate_limited = Counter(
    "lex_rate_limited",
    "Requests and connections refused by a rate limit, by limit.",
    ["limit"],
)
budget_refusals = Counter(
    "lex_budget_refusals", "Queries refused because a budget was used up, by budget.", ["budget"]
)
shared_limits = Gauge(
    "lex_shared_limits_available",
    "1 while all workers count rate limits together in Redis, 0 while each counts alone.",
    multiprocess_mode="livemin",
)

# The worker and what it stands on
draining = Gauge("lex_draining", "1 while the server drains, else 0.", multiprocess_mode="livemax")
drain_started = Gauge(
    "lex_drain_started_timestamp_seconds",
    "Unix time at which the server began to drain, 0 while it does not.",
    multiprocess_mode="livemax",
)
drain_limit = Gauge(
    "lex_drain_limit_seconds",
    "Time in seconds after which no turn runs in a drain.",
    multiprocess_mode="livemax",
)
redis = Gauge(
    "lex_redis_up",
    "1 while event logs are shared through Redis; 0 while Redis fails, and without Redis.",
    multiprocess_mode="livemin",
)
store = Gauge(
    "lex_store_up",
    "1 while every worker can renew its lease in the database, else 0.",
    multiprocess_mode="livemin",
)
retention = Gauge(
    "lex_retention_refused",
    "1 while nothing old is deleted because a worker's clock and the database's differ, else 0.",
    multiprocess_mode="livemax",
)
waiting = Gauge(
    "lex_workers_waiting",
    "Workers that wait for the database before they start to serve.",
    multiprocess_mode="livesum",
)
store_seconds = Histogram(
    "lex_store_transaction_seconds",
    "Duration of a database transaction in seconds, with its wait for a connection.",
    ["operation"],
    buckets=OUR_SECONDS,
)
loop_lag_seconds = Histogram(
    "lex_event_loop_lag_seconds",
    "Delay in seconds with which a timer of the event loop fired.",
    buckets=OUR_SECONDS,
)
flush_interval = Gauge(
    "lex_flush_interval_seconds",
    "Pause in seconds between two chunks of a turn; it grows while the event loop is late.",
    multiprocess_mode="livemax",
)
build = Gauge(
    "lex_build_info",
    "Always 1; the labels name the running version and revision.",
    ["version", "revision"],
    multiprocess_mode="livemax",
)

# A worker that waits for its store sets this to 0 first, so 1 is right for all others.
store.set(1)
agent_seconds.labels(AGENT_NAME, "")
agent_seconds.labels(names.LEX, "")
for _part in Part:
    part_seconds.labels(_part)
for _outcome, _transport in product(OUTCOMES, TRANSPORTS):
    turns.labels(_outcome, _transport)
    missed_first_chunks.labels(_outcome, _transport)
for _transport in TRANSPORTS:
    first_chunk_seconds.labels(_transport)
    streams.labels(_transport)
for _window in WINDOWS:
    disconnects.labels(_window)
client_tokens.labels(WITHOUT_KEY)
client_cost.labels(WITHOUT_KEY)
for _budget in BUDGETS:
    budget_refusals.labels(_budget)
for _limit in LIMITS:
    rate_limited.labels(_limit)
for _outcome in REPAIR_OUTCOMES:
    repairs.labels(_outcome)
