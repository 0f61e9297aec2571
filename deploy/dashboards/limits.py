"""The dashboard Limits: who is refused, and by which limit?"""

from deploy.dashboards.layout import dashboard, row
from deploy.dashboards.panels import (
    COUNT,
    PER_MINUTE,
    SHARE,
    lines,
    query,
    states,
)

_REFUSED = row(
    "What does Lex refuse?",
    lines(
        "Refusals by code",
        "What does Lex refuse, and why? docs/ explains the codes.",
        query("sum by (code) (job_code:lex_refusals:rate5m{HERE}) * 60 > 0", "{{code}}"),
        unit=PER_MINUTE,
        is_stacked=True,
    ),
    lines(
        "Refused for a limit",
        "Which share of queries is over a rate limit or a budget? Normally near 0. Above the"
        " dashed line for 5 minutes is an alert.",
        query("max(job:lex_requests_refused:ratio_rate5m{HERE})", "share"),
        unit=SHARE,
        limit=0.5,
    ),
    lines(
        "Server-side refusals",
        "Which share of queries finds no slot, no store or no model? Normally 0. Above the"
        " dashed line for 5 minutes is an alert.",
        query("max(job:lex_turns_refused:ratio_rate5m{HERE})", "share"),
        unit=SHARE,
        limit=0.05,
    ),
)

_RATES = row(
    "Which rate limit is reached?",
    lines(
        "Rate limits",
        "Which limit of Lex do clients reach? session: RATE_LIMIT_SESSION, client:"
        " RATE_LIMIT_CLIENT, network: ten times that for an IPv6 /48, sessions:"
        " RATE_LIMIT_SESSIONS; streams, readers, sockets: MAX_STREAMS_, MAX_READERS_ and"
        " MAX_SOCKETS_PER_CLIENT.",
        query(
            "sum by (limit) (rate(lex_rate_limited_total{HERE}[$__rate_interval])) * 60",
            "{{limit}}",
        ),
        unit=PER_MINUTE,
        is_stacked=True,
    ),
    states(
        "Shared rate limits",
        "Do all pods count rate limits together? Without REDIS_URL each pod counts alone.",
        query("min(lex_shared_limits_available{HERE})", "limits"),
        means={0: ("alone", "orange"), 1: ("together", "green")},
    ),
    lines(
        "Groq's limits",
        "How often does Groq refuse a call because of a rate limit? Lex retried these calls,"
        " tried the next model, or failed the turn.",
        query(
            "sum by (gen_ai_request_model) (job_model_outcome:lex_upstream_attempts:rate5m"
            '{HERE, outcome="upstream_busy"}) * 60',
            "{{gen_ai_request_model}}",
        ),
        unit=PER_MINUTE,
        is_stacked=True,
    ),
)

_PLACES = row(
    "Are there free slots?",
    lines(
        "Free slots of all pods",
        "How many more turns do all pods accept? Near 0, add pods.",
        query("sum(lex_slots_free{HERE})", "free"),
        unit=COUNT,
    ),
    lines(
        "Free slots of the fullest pod",
        "Is one pod full while others are not? Then the load balancer does not spread streams.",
        query("min(lex_slots_free{HERE})", "free"),
        unit=COUNT,
    ),
    lines(
        "Slow clients",
        "How many clients occupy a slot without reading, until Lex cuts them?",
        query("sum(rate(lex_slow_clients_total{HERE}[$__rate_interval])) * 60", "cut"),
        unit=PER_MINUTE,
    ),
)

LIMITS = dashboard(
    "limits",
    "Limits",
    "What does Lex refuse, because of which limit, and how many slots are free?",
    _REFUSED,
    _RATES,
    _PLACES,
)
