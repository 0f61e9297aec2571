"""The dashboard Costs: what do models cost, who spends it, and does the provider's cache work?"""

from deploy.dashboards.layout import dashboard, row
from deploy.dashboards.panels import (
    COUNT,
    PER_MINUTE,
    SHARE,
    lines,
    number,
    query,
)

USD = "currencyUSD"
_RANGE = "$__rate_interval"

_COST = row(
    "What does it cost?",
    number(
        "Cost of an hour",
        "What would an hour cost at the rate of the last hour? In USD, without models that have no"
        " price.",
        query("sum(job:lex_cost_usd:rate1h{HERE}) * 3600"),
        unit=USD,
        width=6,
    ),
    number(
        "Cost of a turn",
        "What did an average turn of the last hour cost, with its retries and summaries?",
        query("sum(job:lex_cost_usd:rate1h{HERE}) / (sum(rate(lex_turns_total{HERE}[1h])) > 0)"),
        unit=USD,
        width=6,
    ),
    number(
        "Cached input",
        "Which share of the last hour's input did the provider take from its cache, at a lower"
        " price?",
        query("max(job:lex_tokens_cached:ratio_rate1h{HERE})"),
        unit=SHARE,
        width=6,
    ),
    number(
        "Estimated tokens",
        "Which share of the last hour's tokens did the provider not report, because calls were"
        " abandoned or broke off?",
        query(
            "sum(rate(lex_tokens_estimated_total{HERE}[1h])) / (sum(rate("
            'lex_tokens_total{HERE, gen_ai_token_type=~"input|output"}[1h])) > 0)'
        ),
        unit=SHARE,
        width=6,
    ),
)

_WHO = row(
    "Who spends it?",
    lines(
        "Cost by model",
        "Which model costs how much, in USD per hour? The dashed line is an alert.",
        query(
            f"sum by (gen_ai_request_model) (rate(lex_cost_usd_total{{HERE}}[{_RANGE}])) * 3600",
            "{{gen_ai_request_model}}",
        ),
        unit=USD,
        is_stacked=True,
        limit=5,
    ),
    lines(
        "Cost by purpose",
        "How much do answers, summaries and requests of front ends cost? In USD per hour.",
        query(
            f"sum by (purpose) (rate(lex_cost_usd_total{{HERE}}[{_RANGE}])) * 3600",
            "{{purpose}}",
        ),
        unit=USD,
        is_stacked=True,
    ),
    lines(
        "Cost by API key",
        "Which client costs how much, in USD per hour? All clients without an API key count"
        " together.",
        query(
            f"sum by (client) (rate(lex_client_cost_usd_total{{HERE}}[{_RANGE}])) * 3600",
            "{{client}}",
        ),
        unit=USD,
        is_stacked=True,
    ),
)

_TOKENS = row(
    "Which tokens are they?",
    lines(
        "Tokens by kind",
        "Which tokens do calls use? Cached ones are part of the input, reasoning is part of the"
        " output.",
        query(
            f"sum by (gen_ai_token_type) (rate(lex_tokens_total{{HERE}}[{_RANGE}])) * 60",
            "{{gen_ai_token_type}}",
        ),
        unit=PER_MINUTE,
    ),
    lines(
        "Share of cached input",
        "Does the provider's cache work? Below the dashed line for 30 minutes is an alert, where"
        " the cache has worked in the last day.",
        query("max(job:lex_tokens_cached:ratio_rate1h{HERE})", "last hour"),
        query("max(job:lex_tokens_cached:ratio_rate1d{HERE})", "last day"),
        unit=SHARE,
        limit=0.2,
    ),
    lines(
        "Tokens without a price",
        "Which models does the cost leave out, because the price file does not have them?",
        query(
            "sum by (gen_ai_request_model) (rate("
            f"lex_tokens_unpriced_total{{HERE}}[{_RANGE}])) * 60 > 0",
            "{{gen_ai_request_model}}",
        ),
        unit=PER_MINUTE,
    ),
)

_BUDGETS = row(
    "Whom do budgets stop?",
    lines(
        "Refusals by budget",
        "How many queries come to a budget that is used up?",
        query(
            f"sum by (budget) (rate(lex_budget_refusals_total{{HERE}}[{_RANGE}])) * 60",
            "{{budget}}",
        ),
        unit=PER_MINUTE,
        width=12,
        is_stacked=True,
    ),
    lines(
        "Tokens of a turn",
        "How many tokens does an average turn take, with its retries? If it grows, so does the"
        " cost.",
        query(
            'sum(rate(lex_tokens_total{HERE, gen_ai_token_type=~"input|output",'
            f' purpose="turn"}}[{_RANGE}]))'
            f" / (sum(rate(lex_turns_total{{HERE}}[{_RANGE}])) > 0)",
            "tokens",
        ),
        unit=COUNT,
        width=12,
    ),
)

COSTS = dashboard(
    "costs",
    "What it costs",
    "What do models cost, who spends it, and does the provider's cache work?",
    _COST,
    _WHO,
    _TOKENS,
    _BUDGETS,
)
