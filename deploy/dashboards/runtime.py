"""The dashboard Runtime: each pod, its event loop and memory, the database, Redis."""

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
"""Outside Kubernetes only the instance is set."""

_UP = {0: ("down", "red"), 1: ("up", "green")}
_UP_OR_NONE = {0: ("down or none", "orange"), 1: ("up", "green")}

_PODS = row(
    "Which pods run?",
    states(
        "Scrape status",
        "Can Prometheus scrape each pod? If down, check the pod, then the network policy.",
        query("max by (pod, instance) (up{PODS})", _POD),
        means=_UP,
        width=6,
    ),
    states(
        "Draining pods",
        "Which pod drains, and for how long? Longer than lex_drain_limit_seconds is an alert.",
        query("max by (pod, instance) (lex_draining{PODS})", _POD),
        means={0: ("serves", "green"), 1: ("drains", "yellow")},
        width=6,
    ),
    lines(
        "Dead workers",
        "Do workers die, and of what? signal: killed, mostly for lack of memory. timeout: gunicorn"
        " killed a worker whose event loop stood still. exit: an error. Any death is an alert.",
        query(
            "sum by (reason) (increase(lex_worker_deaths_total{PODS}[$__rate_interval]))",
            "{{reason}}",
        ),
        unit=COUNT,
        width=6,
        is_stacked=True,
    ),
    lines(
        "Versions",
        "Which versions run, and since when?",
        query("count by (version, revision) (lex_build_info{PODS})", "{{version}} {{revision}}"),
        unit=COUNT,
        width=6,
        is_stacked=True,
    ),
)

_LOOP = row(
    "Is the event loop free?",
    lines(
        "Event loop lag",
        "How late do timers run? 99th percentile; all streams of the pod wait as long. Above"
        " the dashed line for 5 minutes is an alert: see CPU. A late loop makes the pauses between"
        " chunks longer.",
        query(
            "max by (pod, instance) (instance:lex_event_loop_lag_seconds:p99_rate5m{PODS})",
            _POD,
        ),
        query(
            "max by (pod, instance) (lex_flush_interval_seconds{PODS})",
            f"{_POD} pauses between chunks",
        ),
        unit=SECONDS,
        limit=0.1,
    ),
    lines(
        "CPU",
        "How busy is the one core that a worker can use? The busiest worker of each pod; at 1,"
        " add pods.",
        query(
            "max by (pod, instance) (rate(process_cpu_seconds_total{PODS}[$__rate_interval]))", _POD
        ),
        unit=SHARE,
        limit=1,
    ),
    lines(
        "Lex's own time",
        "How much time does a pod add to a turn, without Groq and the tools? 95th percentile.",
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
    "How full are the pods?",
    lines(
        "Free slots",
        "How many more turns does a pod accept? At 0 it refuses queries as overloaded: add pods.",
        query("sum by (pod, instance) (lex_slots_free{PODS})", _POD),
        unit=COUNT,
    ),
    lines(
        "Open streams by pod",
        "Is the load spread evenly over the pods?",
        query("sum by (pod, instance) (lex_streams_open{PODS})", _POD),
        unit=COUNT,
        is_stacked=True,
    ),
    lines(
        "Followers",
        "How many readers follow the turns of a pod?",
        query("sum by (pod, instance) (lex_followers{PODS})", _POD),
        unit=COUNT,
        is_stacked=True,
    ),
)

_PROCESS = row(
    "What does a process use?",
    lines(
        "Memory",
        "Does the memory of a pod grow? The sum of its workers.",
        query("sum by (pod, instance) (process_resident_memory_bytes{PODS})", _POD),
        unit=BYTES,
    ),
    lines(
        "Open files",
        "How much of its limit of file descriptors does a process use? Above the dashed line,"
        " raise the limit.",
        query("max by (pod, instance) (process_open_fds{PODS} / process_max_fds{PODS})", _POD),
        unit=SHARE,
        limit=0.8,
    ),
    lines(
        "Uptime",
        "Has a pod restarted? Time since its start.",
        query("time() - max by (pod, instance) (process_start_time_seconds{PODS})", _POD),
        unit=SECONDS,
    ),
)

_DATABASE = row(
    "Is the database healthy?",
    states(
        "Store",
        "Can each pod reach the database? If not, it refuses new turns.",
        query("min by (pod, instance) (lex_store_up{PODS})", _POD),
        means=_UP,
        width=12,
    ),
    states(
        "Retention",
        "Does each pod delete old sessions and logs? It refuses while its clock and the"
        " database's differ.",
        query("max by (pod, instance) (lex_retention_refused{PODS})", _POD),
        means={0: ("deletes", "green"), 1: ("refuses", "orange")},
        width=12,
    ),
    lines(
        "Transactions",
        "What does Lex ask of the database? Two transactions a turn, and lease renewals of"
        " each worker.",
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
        "Is the database or the network to it slow? 95th percentile by operation, over all"
        " pods; normally below the dashed line.",
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
    "Is Redis healthy?",
    states(
        "Redis",
        "Do pods share the logs of resumable turns? Never up without REDIS_URL.",
        query("min by (pod, instance) (lex_redis_up{PODS})", _POD),
        means=_UP_OR_NONE,
        width=12,
    ),
    states(
        "Shared limits",
        "Do all pods count rate limits together? Without REDIS_URL each pod counts alone.",
        query("min by (pod, instance) (lex_shared_limits_available{PODS})", _POD),
        means={0: ("alone", "orange"), 1: ("together", "green")},
        width=12,
    ),
)

RUNTIME = dashboard(
    "runtime",
    "Runtime",
    "Is each pod healthy: its event loop, its memory, its database, its Redis?",
    _PODS,
    _LOOP,
    _PLACES,
    _PROCESS,
    _DATABASE,
    _REDIS,
    has_pods=True,
)
