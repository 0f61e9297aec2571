"""The row of the Overview that tells why a part is slow."""

from deploy.dashboards.layout import row
from deploy.dashboards.panels import (
    PER_SECOND,
    SECONDS,
    SHARE,
    board,
    lines,
    query,
    states,
)

CAUSES = row(
    "Why?",
    lines(
        "Models that fail",
        "Does a model fail? Share of its calls, by model. If the first one fails, a fallback"
        " answers, and customers notice only the delay.",
        query(
            "max by (gen_ai_request_model) (job_model:lex_upstream_attempts_failed:ratio_rate5m"
            "{HERE})",
            "{{gen_ai_request_model}}",
        ),
        unit=SHARE,
        limit=0.2,
        links=[board("Upstream", "upstream")],
    ),
    lines(
        "Tools that fail",
        "Does a tool fail or time out? Share of its calls. Above the dashed line for 10 minutes"
        " is an alert.",
        query(
            "max by (gen_ai_tool_name) (job_tool:lex_tool_calls_failed:ratio_rate5m{HERE})",
            "{{gen_ai_tool_name}}",
        ),
        unit=SHARE,
        limit=0.2,
        links=[board("Tools", "tools")],
    ),
    lines(
        "Slow transactions",
        "Is the database slow? 95th percentile by transaction.",
        query(
            "max by (operation) (job_operation:lex_store_transaction_seconds:p95_rate5m{HERE})",
            "{{operation}}",
        ),
        unit=SECONDS,
        limit=0.5,
        links=[board("Runtime", "runtime")],
    ),
    lines(
        "Event loop lag",
        "Does the event loop stand still? 99th percentile of the slowest pod. The log event"
        " `event_loop_stands` has the stack.",
        query("max(instance:lex_event_loop_lag_seconds:p99_rate5m{HERE})", "slowest pod"),
        unit=SECONDS,
        limit=0.1,
        links=[board("Runtime", "runtime")],
    ),
    lines(
        "Refusals by code",
        "Who causes refusals? `too_many_requests` and `budget_exhausted` are limits of clients,"
        " `session_busy` and the like are requests that could not be served.",
        query("sum by (code) (job_code:lex_refusals:rate5m{HERE})", "{{code}}"),
        unit=PER_SECOND,
        is_stacked=True,
        links=[board("Limits", "limits")],
    ),
    states(
        "What Lex stands on",
        "Is the database, Redis or every model away? A part that this Lex has not used for a day is"
        " left out.",
        query("min(lex_store_up{HERE})", "database"),
        query(
            "min(lex_redis_up{HERE}) and max(max_over_time(lex_redis_up{HERE}[1d])) > 0", "Redis"
        ),
        query(
            "min(lex_shared_limits_available{HERE})"
            " and max(max_over_time(lex_shared_limits_available{HERE}[1d])) > 0",
            "shared limits",
        ),
        query("1 - clamp_max(min(lex_breaker_state{HERE}), 1)", "some model"),
        means={0: ("away", "red"), 1: ("there", "green")},
    ),
)
