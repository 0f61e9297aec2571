"""What may be asked of Prometheus: the metrics of Lex, and those that come with its parts.

The table has the shape of the README's, so that the README can take its place.
"""

import re
from dataclasses import dataclass

MEASURED = """
| `gen_ai_client_operation_duration_seconds` | histogram | model, outcome |
| `gen_ai_client_operation_time_to_first_chunk_seconds` | histogram | model |
| `gen_ai_client_token_usage` | histogram | model, type |
| `gen_ai_execute_tool_duration_seconds` | histogram | tool, outcome |
| `gen_ai_invoke_agent_duration_seconds` | histogram | outcome |
| `lex_time_to_first_chunk_seconds` | histogram | transport |
| `lex_upstream_first_byte_seconds` | histogram | model |
| `lex_upstream_queue_seconds` | histogram | model |
| `lex_overhead_seconds` | histogram | |
| `lex_upstream_tokens_per_second` | histogram | model |
| `lex_turns_total` | counter | outcome, transport |
| `lex_turn_rounds` | histogram | |
| `lex_tool_calls_total` | counter | tool, outcome |
| `lex_upstream_attempts_total` | counter | model, outcome |
| `lex_upstream_rescued_calls_total` | counter | outcome |
| `lex_model_retired` | gauge | model |
| `lex_breaker_state` | gauge | model |
| `lex_upstream_budget_remaining` | gauge | model, kind |
| `lex_streams_open` | gauge | transport |
| `lex_followers` | gauge | |
| `lex_slots_free` | gauge | |
| `lex_stream_disconnects_total` | counter | window |
| `lex_resumed_streams_total` | counter | |
| `lex_heartbeats_total` | counter | |
| `lex_slow_clients_total` | counter | |
| `lex_refusals_total` | counter | code |
| `lex_rate_limited_total` | counter | limit |
| `lex_shared_limits_available` | gauge | |
| `lex_redis_up` | gauge | |
| `lex_store_up` | gauge | |
| `lex_draining` | gauge | |
| `lex_store_transaction_seconds` | histogram | operation |
| `lex_event_loop_lag_seconds` | histogram | |
| `lex_build_info` | gauge | version, revision |
"""

FOREIGN = {
    "up": set[str](),
    "ALERTS": {"alertname", "alertstate"},
    "process_cpu_seconds_total": set[str](),
    "process_resident_memory_bytes": set[str](),
    "process_open_fds": set[str](),
    "process_max_fds": set[str](),
    "process_start_time_seconds": set[str](),
}
"""What Prometheus adds, and its client in a process with one worker."""

TARGET = {"namespace", "job", "instance", "pod"}
"""What Prometheus says of where a sample comes from."""

VALUES = {
    ("lex_turns_total", "outcome"): {
        *("completed", "failed", "disconnected", "cancelled", "timed_out")
    },
    ("lex_tool_calls_total", "outcome"): {"ok", "refused", "invalid", "failed", "timed_out"},
    ("lex_upstream_budget_remaining", "kind"): {"requests", "tokens"},
    ("lex_time_to_first_chunk_seconds_bucket", "le"): {
        str(float(bound)) for bound in (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30)
    },
}
"""Values that labels have, where an expression chooses among them."""


@dataclass(frozen=True)
class Metric:
    name: str
    type: str
    labels: frozenset[str]

    @property
    def series(self) -> dict[str, frozenset[str]]:
        if self.type != "histogram":
            return {self.name: self.labels}
        parts = {f"{self.name}_{part}": self.labels for part in ("sum", "count")}
        return {f"{self.name}_bucket": self.labels | {"le"}, **parts}


def metrics(table: str = MEASURED) -> list[Metric]:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([\w, ]*)\|", table, re.MULTILINE)
    return [
        Metric(name, kind, frozenset(re.findall(r"\w+", labels))) for name, kind, labels in rows
    ]


def series() -> dict[str, frozenset[str]]:
    """Every series there is, with its labels."""
    ours = {name: labels for metric in metrics() for name, labels in metric.series.items()}
    every = {**ours, **{name: frozenset(labels) for name, labels in FOREIGN.items()}}
    return {name: labels | TARGET for name, labels in every.items()}
