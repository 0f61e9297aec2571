"""The dashboard Upstream: does Groq answer, how fast, and how much of its rate limits is left?"""

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
        "Do calls succeed, and if not, why? Normally nearly all are ok. upstream_busy is a"
        " rate limit that is used up; docs/ explains the other codes.",
        query(
            "sum by (outcome) (job_model_outcome:lex_upstream_attempts:rate5m{HERE})", "{{outcome}}"
        ),
        unit=PER_SECOND,
        is_stacked=True,
        links=[_FAILED_CALLS],
    ),
    lines(
        "Failed attempts",
        "Which model fails? Share of failed calls; normally near 0. At one half the circuit"
        " breaker opens.",
        query(
            "max by (gen_ai_request_model)"
            " (job_model:lex_upstream_attempts_failed:ratio_rate5m{HERE})",
            "{{gen_ai_request_model}}",
        ),
        unit=SHARE,
        limit=0.5,
        links=[_FAILED_CALLS],
    ),
    lines(
        "Attempts per round",
        "How many calls does one completion of a turn need? Normally 1; more are retries and"
        " fallbacks.",
        query(
            'sum(rate(lex_upstream_attempts_total{HERE, purpose="turn"}[5m]))'
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
        "Does the first model of the list answer, or a fallback?",
        query(
            "sum by (gen_ai_request_model) (job_model_outcome:lex_upstream_attempts:rate5m{HERE})",
            "{{gen_ai_request_model}}",
        ),
        unit=PER_SECOND,
        is_stacked=True,
    ),
    states(
        "Breakers",
        "Which model is not called because it fails? State in the worst pod; normally closed.",
        query(
            "max by (gen_ai_request_model) (lex_breaker_state{HERE})", "{{gen_ai_request_model}}"
        ),
        means={0: ("closed", "green"), 1: ("half open", "yellow"), 2: ("open", "red")},
    ),
    states(
        "Retired models",
        "Does Groq refuse to serve a model of the list? The model may be retired, unknown,"
        " blocked, or have terms to accept; `/readyz` has the reason.",
        query(
            "max by (gen_ai_request_model) (lex_model_retired{HERE})", "{{gen_ai_request_model}}"
        ),
        means={0: ("served", "green"), 1: ("left out", "red")},
    ),
)

_SPEED = row(
    "Is Groq slow, or Lex?",
    lines(
        "First byte by model",
        "How long until Groq answers a call? 95th percentile; normally below the dashed line.",
        query(
            "max by (gen_ai_request_model)"
            " (job_model:lex_upstream_first_byte_seconds:p95_rate5m{HERE})",
            "{{gen_ai_request_model}}",
        ),
        unit=SECONDS,
        limit=2,
        links=[_SLOW_CALLS],
    ),
    lines(
        "Groq's queue by model",
        "How long do calls wait in Groq's queue, as Groq reports it? 95th percentile. If it"
        " rises with the first byte, Groq is full. If only the first byte rises, check the"
        " network and Lex.",
        query(
            "max by (gen_ai_request_model) (job_model:lex_upstream_queue_seconds:p95_rate5m{HERE})",
            "{{gen_ai_request_model}}",
        ),
        unit=SECONDS,
        links=[_SLOW_CALLS],
    ),
    quantiles(
        "Lex's own time",
        "How much time does Lex add to a turn, without Groq and the tools? Above the dashed"
        " line, see the dashboard Runtime.",
        "job:lex_overhead_seconds",
        limit=0.5,
    ),
    lines(
        "Three points of the first chunk",
        "Where is the time lost? 95th percentiles of Groq's first byte, of the first content"
        " in it, and of the first chunk at the client.",
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
        "How long does a whole call take, by model? 95th percentile.",
        query(
            "histogram_quantile(0.95, sum by (gen_ai_request_model, le) (rate("
            "gen_ai_client_operation_duration_seconds_bucket{HERE}[$__rate_interval])))",
            "{{gen_ai_request_model}}",
        ),
        unit=SECONDS,
        links=[_SLOW_CALLS],
    ),
    lines(
        "Tokens per second",
        "How fast does a model write? Median of its calls.",
        query(
            "histogram_quantile(0.5, sum by (gen_ai_request_model, le) (rate("
            "lex_upstream_tokens_per_second_bucket{HERE}[$__rate_interval])))",
            "{{gen_ai_request_model}}",
        ),
        unit=PER_SECOND,
    ),
    lines(
        "Time per output token",
        "How fast does text arrive once it has begun, by model? 95th percentile of the calls of"
        " turns. Above the dashed line, a model writes less than ten tokens per second.",
        query(
            "histogram_quantile(0.95, sum by (gen_ai_request_model, le) (rate("
            "gen_ai_client_operation_time_per_output_chunk_seconds_bucket"
            '{HERE, purpose="turn"}[$__rate_interval])))',
            "{{gen_ai_request_model}}",
        ),
        unit=SECONDS,
        width=12,
        limit=0.1,
        links=[_SLOW_CALLS],
    ),
    heat(
        "Every first byte",
        "Are all calls slow, or a few? A dot is one call, and opens its trace.",
        "lex_upstream_first_byte_seconds_bucket",
        links=[_SLOW_CALLS],
    ),
)

_BUDGET = row(
    "How much of Groq's rate limits is left?",
    lines(
        "Requests left",
        "How many requests are left today, according to Groq's last answer?",
        query(
            "min by (gen_ai_request_model) (job_model_kind:lex_upstream_budget_remaining:min"
            '{HERE, kind="requests"})',
            "{{gen_ai_request_model}}",
        ),
        unit=COUNT,
    ),
    lines(
        "Tokens left",
        "How many tokens are left this minute, according to Groq's last answer?",
        query(
            "min by (gen_ai_request_model) (job_model_kind:lex_upstream_budget_remaining:min"
            '{HERE, kind="tokens"})',
            "{{gen_ai_request_model}}",
        ),
        unit=COUNT,
    ),
    lines(
        "Share that is left",
        "How close is the rate limit? Share of the limit that is left. Below the dashed line"
        " for 5 minutes is an alert: raise the limit, or use another model.",
        query(
            "min by (gen_ai_request_model, kind)"
            " (job_model_kind:lex_upstream_budget_remaining:ratio{HERE})",
            "{{gen_ai_request_model}}, {{kind}}",
        ),
        unit=SHARE,
        limit=0.1,
    ),
    lines(
        "Waiting turns",
        "How many turns wait until a rate limit has room for them?",
        query(
            "sum by (gen_ai_request_model) (lex_upstream_waiting{HERE})", "{{gen_ai_request_model}}"
        ),
        unit=COUNT,
        width=24,
    ),
)

_USE = row(
    "What do calls consume?",
    lines(
        "Tokens",
        "How many tokens does Lex send and receive in a minute?",
        query(
            "sum by (gen_ai_request_model, gen_ai_token_type)"
            " (rate(gen_ai_client_token_usage_sum{HERE}[$__rate_interval])) * 60",
            "{{gen_ai_request_model}}, {{gen_ai_token_type}}",
        ),
        unit=PER_MINUTE,
        width=12,
        is_stacked=True,
    ),
    lines(
        "Tokens of a call",
        "How large are calls? Mean by type. Input grows with histories and tool results.",
        query(
            "sum by (gen_ai_token_type)"
            " (rate(gen_ai_client_token_usage_sum{HERE}[$__rate_interval]))"
            " / (sum by (gen_ai_token_type)"
            " (rate(gen_ai_client_token_usage_count{HERE}[$__rate_interval])) > 0)",
            "{{gen_ai_token_type}}",
        ),
        unit=COUNT,
        width=12,
    ),
    lines(
        "Rescued tool calls",
        "How often can Groq not parse a model's tool call, and what does Lex do with it?"
        " rescued: repaired. asked_again: the model was called again. text: sent as text."
        " lost: the call failed.",
        query(
            "sum by (outcome) (rate(lex_upstream_rescued_calls_total{HERE}[$__rate_interval]))"
            " * 60",
            "{{outcome}}",
        ),
        unit=PER_MINUTE,
        width=12,
        is_stacked=True,
    ),
    lines(
        "Completions by finish reason",
        "Why do models stop? length: the limit of tokens was reached, and the answer is cut."
        " content_filter: the provider withheld the rest.",
        query(
            "sum by (gen_ai_response_finish_reason)"
            " (rate(lex_completions_total{HERE}[$__rate_interval])) * 60",
            "{{gen_ai_response_finish_reason}}",
        ),
        unit=PER_MINUTE,
        width=12,
        is_stacked=True,
    ),
)

UPSTREAM = dashboard(
    "upstream",
    "Upstream",
    "Does Groq answer, with which model and how fast, and how much of its rate limits is left?",
    _ANSWERS,
    _MODELS,
    _SPEED,
    _BUDGET,
    _USE,
)
