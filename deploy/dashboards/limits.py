"""Who is turned away, and by which limit?"""

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
    "Who is turned away?",
    lines(
        "Refusals by code",
        "What is refused, and why? The codes are those of the README.",
        query("sum by (code) (job_code:lex_refusals:rate5m{HERE}) * 60 > 0", "{{code}}"),
        unit=PER_MINUTE,
        width=12,
        is_stacked=True,
    ),
    lines(
        "Refused for reasons of ours",
        "Which share of queries finds no place, no store or no model? Above the line for"
        " 5 minutes is an alert.",
        query("max(job:lex_turns_refused:ratio_rate5m{HERE})", "share"),
        unit=SHARE,
        width=12,
        limit=0.05,
    ),
)

_RATES = row(
    "Which rate is used up?",
    lines(
        "Rate limits",
        "Which limit of ours is met? session: RATE_LIMIT_SESSION, client: RATE_LIMIT_CLIENT,"
        " network: ten times that for an IPv6 /48, sessions: RATE_LIMIT_SESSIONS; streams,"
        " readers, sockets: MAX_STREAMS_, MAX_READERS_ and MAX_SOCKETS_PER_CLIENT.",
        query(
            "sum by (limit) (rate(lex_rate_limited_total{HERE}[$__rate_interval])) * 60",
            "{{limit}}",
        ),
        unit=PER_MINUTE,
        is_stacked=True,
    ),
    states(
        "Counting together",
        "Do all pods count rates together? Without REDIS_URL each always counts for itself.",
        query("min(lex_shared_limits_available{HERE})", "limits"),
        means={0: ("each for itself", "orange"), 1: ("together", "green")},
    ),
    lines(
        "Groq's limits",
        "How often are we one too many at Groq? Those calls were retried, passed on or failed.",
        query(
            "sum by (model) (job_model_outcome:lex_upstream_attempts:rate5m"
            '{HERE, outcome="upstream_busy"}) * 60',
            "{{model}}",
        ),
        unit=PER_MINUTE,
        is_stacked=True,
    ),
)

_PLACES = row(
    "Are there places left?",
    lines(
        "Free slots of all pods",
        "How many more turns would be taken? When this nears 0, add pods.",
        query("sum(lex_slots_free{HERE})", "free"),
        unit=COUNT,
    ),
    lines(
        "Free slots of the fullest pod",
        "Is one pod full while others are not?",
        query("min(lex_slots_free{HERE})", "free"),
        unit=COUNT,
    ),
    lines(
        "Slow clients",
        "How many clients hold a place without reading, until they are cut?",
        query("sum(rate(lex_slow_clients_total{HERE}[$__rate_interval])) * 60", "cut"),
        unit=PER_MINUTE,
    ),
)

LIMITS = dashboard(
    "limits",
    "Limits",
    "Who is turned away, by which limit, and how many places are left?",
    _REFUSED,
    _RATES,
    _PLACES,
)
