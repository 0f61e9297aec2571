"""Does Groq answer, how fast, and how much may we still ask?"""

from deploy.dashboards.layout import dashboard, row
from deploy.dashboards.panels import (
    COUNT,
    PER_MINUTE,
    PER_SECOND,
    SECONDS,
    SHARE,
    heat,
    lines,
    quantiles,
    query,
    states,
    traces,
)

_FAILED_CALLS = traces(
    "Failed calls", '{ span.gen_ai.operation.name = "chat" && span.error.type != nil }'
)
_SLOW_CALLS = traces("Calls over 5 s", '{ span.gen_ai.operation.name = "chat" && duration > 5s }')

_ANSWERS = row(
    "Does Groq answer?",
    lines(
        "Attempts by outcome",
        "Do calls succeed, and if not, why? upstream_busy is a rate that is used up; the codes are"
        " those of the README.",
        query(
            "sum by (outcome) (job_model_outcome:lex_upstream_attempts:rate5m{HERE})", "{{outcome}}"
        ),
        unit=PER_SECOND,
        is_stacked=True,
        links=[_FAILED_CALLS],
    ),
    lines(
        "Failed attempts",
        "Which model fails? The share of its calls that did; the breaker opens at half.",
        query(
            "max by (model) (job_model:lex_upstream_attempts_failed:ratio_rate5m{HERE})",
            "{{model}}",
        ),
        unit=SHARE,
        limit=0.5,
        links=[_FAILED_CALLS],
    ),
    lines(
        "Attempts per round",
        "How often is a model asked for one completion? More than 1 are retries and fallbacks.",
        query(
            "sum(job_model_outcome:lex_upstream_attempts:rate5m{HERE})"
            " / (sum(rate(lex_turn_rounds_sum{HERE}[5m])) > 0)",
            "attempts",
        ),
        unit=COUNT,
    ),
)

_MODELS = row(
    "Which model answers?",
    lines(
        "Attempts by model",
        "Is the first model of the list asked, or does a fallback do its work?",
        query("sum by (model) (job_model_outcome:lex_upstream_attempts:rate5m{HERE})", "{{model}}"),
        unit=PER_SECOND,
        is_stacked=True,
    ),
    states(
        "Breakers",
        "Which model is left alone since it fails? The worst pod counts.",
        query("max by (model) (lex_breaker_state{HERE})", "{{model}}"),
        means={0: ("closed", "green"), 1: ("half open", "yellow"), 2: ("open", "red")},
    ),
    states(
        "Retired models",
        "Is there a model in the list that Groq does not serve to us? It may be retired, unknown,"
        " blocked, or have terms that nobody accepted; `/readyz` says which.",
        query("max by (model) (lex_model_retired{HERE})", "{{model}}"),
        means={0: ("served", "green"), 1: ("left out", "red")},
    ),
)

_SPEED = row(
    "Is Groq slow, or are we?",
    lines(
        "First byte by model",
        "How long until Groq answers a call? 95th percentile.",
        query(
            "max by (model) (job_model:lex_upstream_first_byte_seconds:p95_rate5m{HERE})",
            "{{model}}",
        ),
        unit=SECONDS,
        limit=2,
        links=[_SLOW_CALLS],
    ),
    lines(
        "Groq's queue by model",
        "How long do calls wait at Groq, as Groq itself reports? 95th percentile. If it rises with"
        " the first byte, Groq is full; if it does not, look at the network and at us.",
        query(
            "max by (model) (job_model:lex_upstream_queue_seconds:p95_rate5m{HERE})",
            "{{model}}",
        ),
        unit=SECONDS,
        links=[_SLOW_CALLS],
    ),
    quantiles(
        "Lex's own time",
        "How much does Lex add to a turn, beside Groq and the tools?",
        "job:lex_overhead_seconds",
        limit=0.5,
    ),
    lines(
        "Three points of the first chunk",
        "Where is the time lost? 95th percentiles of Groq's first byte, of the first content in it,"
        " and of the first chunk at the client.",
        query(
            "max(job_model:lex_upstream_first_byte_seconds:p95_rate5m{HERE})",
            "first byte",
        ),
        query(
            "histogram_quantile(0.95, sum by (le) (rate("
            "gen_ai_client_operation_time_to_first_chunk_seconds_bucket{HERE}"
            "[$__rate_interval])))",
            "first content",
        ),
        query(
            "max(job:lex_time_to_first_chunk_seconds:p95_rate5m{HERE})",
            "first chunk at the client",
        ),
        unit=SECONDS,
        limit=2,
    ),
    lines(
        "Duration of calls",
        "How long does a call take in all, by model? 95th percentile.",
        query(
            "histogram_quantile(0.95, sum by (model, le) (rate("
            "gen_ai_client_operation_duration_seconds_bucket{HERE}[$__rate_interval])))",
            "{{model}}",
        ),
        unit=SECONDS,
        links=[_SLOW_CALLS],
    ),
    lines(
        "Tokens per second",
        "How fast does a model write? Median over its calls.",
        query(
            "histogram_quantile(0.5, sum by (model, le) (rate("
            "lex_upstream_tokens_per_second_bucket{HERE}[$__rate_interval])))",
            "{{model}}",
        ),
        unit=PER_SECOND,
    ),
    heat(
        "Every first byte",
        "Are all calls slow, or a few? A dot is one call, and opens its trace.",
        "lex_upstream_first_byte_seconds_bucket",
        width=24,
        links=[_SLOW_CALLS],
    ),
)

_BUDGET = row(
    "How much may we still ask?",
    lines(
        "Requests left",
        "How many requests are left of the day, as Groq said last?",
        query(
            "min by (model) (job_model_kind:lex_upstream_budget_remaining:min"
            '{HERE, kind="requests"})',
            "{{model}}",
        ),
        unit=COUNT,
    ),
    lines(
        "Tokens left",
        "How many tokens are left of the minute, as Groq said last?",
        query(
            "min by (model) (job_model_kind:lex_upstream_budget_remaining:min"
            '{HERE, kind="tokens"})',
            "{{model}}",
        ),
        unit=COUNT,
    ),
    lines(
        "Share that is left",
        "How near is the end? What is left of what Groq allows; below the line for 5 minutes is an"
        " alert.",
        query(
            "min by (model, kind) (job_model_kind:lex_upstream_budget_remaining:ratio{HERE})",
            "{{model}}, {{kind}}",
        ),
        unit=SHARE,
        limit=0.1,
    ),
)

_USE = row(
    "What is it used for?",
    lines(
        "Tokens",
        "How many tokens are read and written in a minute?",
        query(
            "sum by (model, type) (rate(gen_ai_client_token_usage_sum{HERE}[$__rate_interval]))"
            " * 60",
            "{{model}}, {{type}}",
        ),
        unit=PER_MINUTE,
        is_stacked=True,
    ),
    lines(
        "Tokens of a call",
        "How large are calls? Mean by type: input grows with histories and tool results.",
        query(
            "sum by (type) (rate(gen_ai_client_token_usage_sum{HERE}[$__rate_interval]))"
            " / (sum by (type) (rate(gen_ai_client_token_usage_count{HERE}[$__rate_interval]))"
            " > 0)",
            "{{type}}",
        ),
        unit=COUNT,
    ),
    lines(
        "Rescued tool calls",
        "How often does a model word a tool call so that Groq cannot read it, and what becomes"
        " of it?",
        query(
            "sum by (outcome) (rate(lex_upstream_rescued_calls_total{HERE}[$__rate_interval]))"
            " * 60",
            "{{outcome}}",
        ),
        unit=PER_MINUTE,
        is_stacked=True,
    ),
)

UPSTREAM = dashboard(
    "upstream",
    "Upstream",
    "Does Groq answer, with which model, how fast compared with us, and how much may we still ask?",
    _ANSWERS,
    _MODELS,
    _SPEED,
    _BUDGET,
    _USE,
)
