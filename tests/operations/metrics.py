"""The metrics that Prometheus has: those of Lex, as documented, and those of its components."""

import re
from dataclasses import dataclass

from backend.telemetry import metric_definitions
from tests.documents.markdown import section

MEASURED = section("docs/observability.md", "Metrics")

FOREIGN = {
    "up": set[str](),
    "ALERTS": {"alertname", "alertstate"},
    "process_cpu_seconds_total": set[str](),
    "process_resident_memory_bytes": set[str](),
    "process_open_fds": set[str](),
    "process_max_fds": set[str](),
    "process_start_time_seconds": set[str](),
}
"""Metrics that Prometheus adds, and those of its client library in a process with one worker."""

TARGET = {"namespace", "job", "instance", "pod"}
"""Labels that Prometheus adds to name the origin of a sample."""

VALUES = {
    ("lex_turns_total", "outcome"): {
        *("completed", "failed", "disconnected", "cancelled", "timed_out")
    },
    ("lex_upstream_attempts_total", "purpose"): {"turn", "summary"},
    ("gen_ai_client_operation_time_per_output_chunk_seconds_bucket", "purpose"): {
        "turn",
        "summary",
    },
    ("lex_tool_calls_total", "outcome"): {"ok", "refused", "invalid", "failed", "timed_out"},
    ("lex_upstream_attempts_total", "outcome"): {*metric_definitions.ATTEMPT_OUTCOMES},
    ("lex_upstream_budget_remaining", "kind"): {"requests", "tokens"},
    ("lex_upstream_budget_limit", "kind"): {"requests", "tokens"},
    ("lex_time_to_first_chunk_seconds_bucket", "le"): {
        str(float(bound)) for bound in metric_definitions.FIRST_CHUNK_SECONDS
    },
}
"""The values of labels among which expressions choose."""


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
    """Every existing series with its labels."""
    ours = {name: labels for metric in metrics() for name, labels in metric.series.items()}
    every = {**ours, **{name: frozenset(labels) for name, labels in FOREIGN.items()}}
    return {name: labels | TARGET for name, labels in every.items()}
