"""What each pod does, and what it stands on: its loop, its memory, the database, Redis."""

from deploy.dashboards.layout import dashboard, row
from deploy.dashboards.panels import (
    BYTES,
    COUNT,
    PER_SECOND,
    SECONDS,
    SHARE,
    lines,
    query,
    states,
)

_POD = "{{pod}} {{instance}}"
"""Outside Kubernetes there are only addresses."""

_UP = {0: ("down", "red"), 1: ("up", "green")}
_UP_OR_NONE = {0: ("down or none", "orange"), 1: ("up", "green")}

_PODS = row(
    "Who is there?",
    states(
        "Scraped",
        "Does each pod answer Prometheus?",
        query("max by (pod, instance) (up{PODS})", _POD),
        means=_UP,
    ),
    states(
        "Leaving",
        "Which pod drains, and for how long? More than 2 minutes is an alert.",
        query("max by (pod, instance) (lex_draining{PODS})", _POD),
        means={0: ("serves", "green"), 1: ("drains", "yellow")},
    ),
    lines(
        "Versions",
        "Which versions run, and when did that change?",
        query("count by (version, revision) (lex_build_info{PODS})", "{{version}} {{revision}}"),
        unit=COUNT,
        is_stacked=True,
    ),
)

_LOOP = row(
    "Is the event loop free?",
    lines(
        "Event loop lag",
        "How late does the loop come? 99th percentile; all streams of the pod wait for it. Above"
        " the line for 5 minutes is an alert.",
        query(
            "max by (pod, instance) (instance:lex_event_loop_lag_seconds:p99_rate5m{PODS})",
            _POD,
        ),
        unit=SECONDS,
        limit=0.1,
    ),
    lines(
        "CPU",
        "How busy is the one core that a worker can use? Only told by pods with one worker.",
        query(
            "sum by (pod, instance) (rate(process_cpu_seconds_total{PODS}[$__rate_interval]))", _POD
        ),
        unit=SHARE,
        limit=1,
    ),
    lines(
        "Lex's own time",
        "How much does a pod add to a turn, beside Groq and the tools? 95th percentile.",
        query(
            "histogram_quantile(0.95, sum by (pod, instance, le) (rate("
            "lex_overhead_seconds_bucket{PODS}[$__rate_interval])))",
            _POD,
        ),
        unit=SECONDS,
        limit=0.5,
    ),
)

_PLACES = row(
    "How full is it?",
    lines(
        "Free slots",
        "How many more turns would a pod take? The pool of connections to Groq has as many"
        " places; at 0 queries are refused as overloaded.",
        query("sum by (pod, instance) (lex_slots_free{PODS})", _POD),
        unit=COUNT,
    ),
    lines(
        "Open streams by pod",
        "Is the load spread evenly?",
        query("sum by (pod, instance) (lex_streams_open{PODS})", _POD),
        unit=COUNT,
        is_stacked=True,
    ),
    lines(
        "Followers",
        "How many readers do the turns of a pod have?",
        query("sum by (pod, instance) (lex_followers{PODS})", _POD),
        unit=COUNT,
        is_stacked=True,
    ),
)

_PROCESS = row(
    "What does the process take?",
    lines(
        "Memory",
        "Does a pod grow? Only told by pods with one worker.",
        query("max by (pod, instance) (process_resident_memory_bytes{PODS})", _POD),
        unit=BYTES,
    ),
    lines(
        "Open files",
        "How many of the sockets and files are taken that a process may have?",
        query("max by (pod, instance) (process_open_fds{PODS} / process_max_fds{PODS})", _POD),
        unit=SHARE,
        limit=0.8,
    ),
    lines(
        "Age",
        "Has a pod been restarted? Time since its start.",
        query("time() - max by (pod, instance) (process_start_time_seconds{PODS})", _POD),
        unit=SECONDS,
    ),
)

_DATABASE = row(
    "Is the database well?",
    states(
        "Store",
        "Does each pod reach the database?",
        query("min by (pod, instance) (lex_store_up{PODS})", _POD),
        means=_UP,
        width=12,
    ),
    states(
        "Retention",
        "Does each pod forget what is old? Not while its clock and the database's differ.",
        query("max by (pod, instance) (lex_retention_refused{PODS})", _POD),
        means={0: ("forgets", "green"), 1: ("refuses", "orange")},
        width=12,
    ),
    lines(
        "Transactions",
        "What is asked of the database? Two transactions a turn, and the lease of each worker.",
        query(
            "sum by (operation) (rate("
            "lex_store_transaction_seconds_count{PODS}[$__rate_interval]))",
            "{{operation}}",
        ),
        unit=PER_SECOND,
        is_stacked=True,
        width=12,
    ),
    lines(
        "Duration of transactions",
        "Is the database slow, or the way to it? 95th percentile by operation, of all pods.",
        query(
            "max by (operation) (job_operation:lex_store_transaction_seconds:p95_rate5m{HERE})",
            "{{operation}}",
        ),
        unit=SECONDS,
        limit=0.5,
        width=12,
    ),
)

_REDIS = row(
    "Is Redis well?",
    states(
        "Redis",
        "Are logs of resumable turns shared? Without REDIS_URL this is never up.",
        query("min by (pod, instance) (lex_redis_up{PODS})", _POD),
        means=_UP_OR_NONE,
        width=12,
    ),
    states(
        "Shared limits",
        "Do all pods count rates together? Without REDIS_URL each always counts for itself.",
        query("min by (pod, instance) (lex_shared_limits_available{PODS})", _POD),
        means={0: ("each for itself", "orange"), 1: ("together", "green")},
        width=12,
    ),
)

RUNTIME = dashboard(
    "runtime",
    "Runtime",
    "What each pod does, and what it stands on: its event loop, its memory, the database, Redis.",
    _PODS,
    _LOOP,
    _PLACES,
    _PROCESS,
    _DATABASE,
    _REDIS,
    has_pods=True,
)
