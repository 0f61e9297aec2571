"""The dashboard Tools: do tools work, and which one is slow?"""

from deploy.dashboards.layout import dashboard, row
from deploy.dashboards.panels import (
    COUNT,
    PER_MINUTE,
    SECONDS,
    SHARE,
    heat,
    lines,
    query,
    traces,
)

_FAILED = traces(
    "Failed tools", '{ span.gen_ai.operation.name = "execute_tool" && span.error.type != nil }'
)
_SLOW = traces("Tools over 1 s", '{ span.gen_ai.operation.name = "execute_tool" && duration > 1s }')

_WORK = row(
    "Do the tools work?",
    lines(
        "Calls by tool",
        "Which tools do turns use?",
        query(
            "sum by (gen_ai_tool_name) (job_tool_outcome:lex_tool_calls:rate5m{HERE}) * 60",
            "{{gen_ai_tool_name}}",
        ),
        unit=PER_MINUTE,
        is_stacked=True,
    ),
    lines(
        "Calls by outcome",
        "How do tool calls end? refused: the tool said no, as it should. invalid: the model"
        " sent wrong arguments. failed and timed_out: the tool is broken or slow.",
        query(
            "sum by (outcome) (job_tool_outcome:lex_tool_calls:rate5m{HERE}) * 60", "{{outcome}}"
        ),
        unit=PER_MINUTE,
        is_stacked=True,
        links=[_FAILED],
    ),
    lines(
        "Failing tools",
        "Which tool fails or times out? Share of its calls; normally 0. Above the dashed line"
        " for 10 minutes is an alert.",
        query(
            "max by (gen_ai_tool_name) (job_tool:lex_tool_calls_failed:ratio_rate5m{HERE})",
            "{{gen_ai_tool_name}}",
        ),
        unit=SHARE,
        limit=0.2,
        links=[_FAILED],
    ),
)

_SPEED = row(
    "Which tool is slow?",
    lines(
        "Duration by tool",
        "How long does a tool take? 95th percentile.",
        query(
            "max by (gen_ai_tool_name)"
            " (job_tool:gen_ai_execute_tool_duration_seconds:p95_rate5m{HERE})",
            "{{gen_ai_tool_name}}",
        ),
        unit=SECONDS,
        width=12,
        links=[_SLOW],
    ),
    heat(
        "Every tool call",
        "Are all calls slow, or a few? A dot is one call, and opens its trace.",
        "gen_ai_execute_tool_duration_seconds_bucket",
        links=[_SLOW],
    ),
)

_LEAN = row(
    "How much do turns depend on tools?",
    lines(
        "Tool time in a turn",
        "How many seconds of an average turn do tools take?",
        query('max(job_part:lex_turn_seconds:mean5m{HERE, part="tools"})', "tools"),
        unit=SECONDS,
    ),
    lines(
        "Calls per turn",
        "How many tools does an average turn call?",
        query(
            "sum(job_tool_outcome:lex_tool_calls:rate5m{HERE})"
            " / (sum(job:lex_turns:rate5m{HERE}) > 0)",
            "calls",
        ),
        unit=COUNT,
    ),
    lines(
        "Rounds of a turn",
        "How often does a turn call the model? Each round with tools adds one more wait.",
        query(
            "sum(rate(lex_turn_rounds_sum{HERE}[$__rate_interval]))"
            " / (sum(rate(lex_turn_rounds_count{HERE}[$__rate_interval])) > 0)",
            "mean",
        ),
        query(
            "histogram_quantile(0.95, sum by (le) (rate("
            "lex_turn_rounds_bucket{HERE}[$__rate_interval])))",
            "95th",
        ),
        unit=COUNT,
    ),
)

TOOLS = dashboard(
    "tools",
    "Tools",
    "Do tools work, which one is slow, and how much do turns depend on them?",
    _WORK,
    _SPEED,
    _LEAN,
)
