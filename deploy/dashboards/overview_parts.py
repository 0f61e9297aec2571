"""The row of the Overview that tells which part of a turn is slow."""

from grafana_foundation_sdk.builders import stat

from deploy.dashboards.layout import row
from deploy.dashboards.overview_links import LATE_CALLS, SLOW_TURNS
from deploy.dashboards.panels import (
    SECONDS,
    board,
    lines,
    number,
    query,
)


def _part(title: str, question: str, part: str, *, warn: float, bad: float, to: str) -> stat.Panel:
    """The seconds of an average turn that one part takes."""
    return number(
        title,
        f"{question} Mean seconds of a turn.",
        query(f'max(job_part:lex_turn_seconds:mean5m{{HERE, part="{part}"}})'),
        unit=SECONDS,
        width=3,
        warn=warn,
        bad=bad,
        links=[board(to.capitalize(), to)],
    )


PARTS = row(
    "Who is slow?",
    _part(
        "Groq's queue",
        "Is Groq full? It reports how long calls wait in its queue.",
        "queue",
        warn=0.5,
        bad=1,
        to="upstream",
    ),
    number(
        "Groq's first chunk",
        "Is a model slow to begin? Time from a call to its first text or tool call, with Groq's"
        " queue. 95th percentile over all models; normally below 1 s.",
        query(
            "histogram_quantile(0.95, sum by (le) (rate("
            "gen_ai_client_operation_time_to_first_chunk_seconds_bucket"
            '{HERE, purpose="turn"}[5m])))'
        ),
        unit=SECONDS,
        width=3,
        warn=1,
        bad=2,
        links=[board("Upstream", "upstream")],
    ),
    _part(
        "Waiting for a rate",
        "Do turns wait for Groq's rate limit, a back-off or a circuit breaker?",
        "rate_wait",
        warn=0.2,
        bad=0.5,
        to="upstream",
    ),
    number(
        "Slowest tool",
        "Is a tool slow? 95th percentile of the slowest one; normally below 1 s.",
        query("max(job_tool:gen_ai_execute_tool_duration_seconds:p95_rate5m{HERE})"),
        unit=SECONDS,
        width=3,
        warn=1,
        bad=2,
        links=[board("Tools", "tools")],
    ),
    _part("Store", "Is the database slow or locked?", "store", warn=0.1, bad=0.3, to="runtime"),
    _part("Lex itself", "Is Lex's own work slow?", "lex", warn=0.05, bad=0.2, to="runtime"),
    _part(
        "Blocked event loop",
        "Does something block the event loop, so that all turns of a worker wait?",
        "event_loop",
        warn=0.05,
        bad=0.15,
        to="runtime",
    ),
    _part(
        "Reading clients",
        "Do clients read slowly, or a proxy on the way?",
        "client",
        warn=0.1,
        bad=0.5,
        to="runtime",
    ),
    lines(
        "Turn time by part",
        "Which part grows when turns become slow? Mean seconds of a turn; the parts add up to it.",
        query("max by (part) (job_part:lex_turn_seconds:mean5m{HERE})", "{{part}}"),
        unit=SECONDS,
        width=12,
        is_stacked=True,
        links=[SLOW_TURNS],
    ),
    lines(
        "Waiting for the first chunk",
        "Is a late first chunk caused by Groq or by Lex? 95th percentiles. The gap between"
        " the client's line and Groq's is Lex, and the tools of earlier rounds.",
        query(
            "max(job:lex_time_to_first_chunk_seconds:p95_rate5m{HERE})",
            "client's first chunk",
        ),
        query(
            "max(job_model:lex_upstream_first_byte_seconds:p95_rate5m{HERE})",
            "Groq's first byte",
        ),
        query(
            "max(job_model:lex_upstream_queue_seconds:p95_rate5m{HERE})",
            "Groq's queue",
        ),
        query(
            "max(job:lex_overhead_seconds:p95_rate5m{HERE})",
            "Lex, in the whole turn",
        ),
        unit=SECONDS,
        width=12,
        limit=2,
        links=[LATE_CALLS],
    ),
)
