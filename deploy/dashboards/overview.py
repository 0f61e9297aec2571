"""The dashboard Overview: is Lex healthy, and which part is slow?"""

from deploy.dashboards.layout import dashboard, row
from deploy.dashboards.panels import (
    COUNT,
    PER_MINUTE,
    PER_SECOND,
    SECONDS,
    SHARE,
    board,
    heat,
    lines,
    number,
    quantiles,
    query,
    traces,
)

_SLOW_TURNS = traces("Turns over 5 s", '{ name = "invoke_agent lex" && duration > 5s }')
_FAILED_TURNS = traces("Failed turns", '{ name = "invoke_agent lex" && span.error.type != nil }')
_LATE_CALLS = traces(
    "Calls with a late first chunk", "{ span.gen_ai.response.time_to_first_chunk > 2 }"
)

_WELL = row(
    "Is Lex healthy?",
    number(
        "Successful turns",
        "Do turns complete? Share of the last hour, without turns that the client broke off."
        " The objective is 99.5 %. If red, see Turns by outcome.",
        query("1 - max(job:lex_turns_ended_badly:ratio_rate1h{HERE})"),
        unit=SHARE,
        width=4,
        warn=0.999,
        bad=0.995,
        links=[_FAILED_TURNS],
    ),
    number(
        "First chunks within 2 s",
        "Do answers start in time? Share of the last hour. The objective is 99 %. If red, see"
        " the next row.",
        query("1 - max(job:lex_first_chunks_late:ratio_rate1h{HERE})"),
        unit=SHARE,
        width=4,
        warn=0.995,
        bad=0.99,
        links=[_LATE_CALLS],
    ),
    number(
        "Server-side refusals",
        "Does Lex refuse queries because it has no slot, no store or no model? Share of all"
        " queries; normally 0. Above 5 % for 5 minutes is an alert.",
        query("max(job:lex_turns_refused:ratio_rate5m{HERE})"),
        unit=SHARE,
        width=4,
        warn=0.01,
        bad=0.05,
        links=[board("Limits", "limits")],
    ),
    number(
        "Firing alerts",
        "Does an alert of Lex fire? Normally 0. deploy/RUNBOOK.md has a section for each alert.",
        query('count(ALERTS{alertname=~"Lex.+", alertstate="firing"}) or vector(0)'),
        unit=COUNT,
        width=4,
        warn=1,
        bad=2,
    ),
    number(
        "Turns per second",
        "How much is Lex used? Turns that end in a second.",
        query("sum(job:lex_turns:rate5m{HERE})"),
        unit=PER_SECOND,
        width=4,
    ),
    number(
        "Open streams",
        "How many clients receive an answer at this moment?",
        query("sum(lex_streams_open{HERE})"),
        unit=COUNT,
        width=4,
        links=[board("Runtime", "runtime")],
    ),
)

_WHO = row(
    "Who is slow: Groq, a tool, Lex or the client?",
    number(
        "Groq: first byte",
        "How long until Groq answers a call? 95th percentile of its slowest model; normally"
        " below 1 s. If this is red and Lex's own time is not, the cause is Groq.",
        query("max(job_model:lex_upstream_first_byte_seconds:p95_rate5m{HERE})"),
        unit=SECONDS,
        width=5,
        warn=1,
        bad=2,
        links=[board("Upstream", "upstream")],
    ),
    number(
        "Groq: queue time",
        "How long do calls wait in Groq's queue, as Groq reports it? 95th percentile, part of"
        " the first byte; normally below 0.5 s.",
        query("max(job_model:lex_upstream_queue_seconds:p95_rate5m{HERE})"),
        unit=SECONDS,
        width=5,
        warn=0.5,
        bad=1,
        links=[board("Upstream", "upstream")],
    ),
    number(
        "Slowest tool",
        "How long does the slowest tool take? 95th percentile; normally below 1 s. If red,"
        " see the dashboard Tools.",
        query("max(job_tool:gen_ai_execute_tool_duration_seconds:p95_rate5m{HERE})"),
        unit=SECONDS,
        width=5,
        warn=1,
        bad=5,
        links=[board("Tools", "tools")],
    ),
    number(
        "Lex's own time",
        "How much time does Lex add to a turn, without Groq and the tools? 95th percentile;"
        " normally below 0.1 s. If red, see the dashboard Runtime.",
        query("max(job:lex_overhead_seconds:p95_rate5m{HERE})"),
        unit=SECONDS,
        width=5,
        warn=0.1,
        bad=0.5,
        links=[board("Runtime", "runtime")],
    ),
    number(
        "Slow clients",
        "How many clients did Lex cut in the last hour because they did not read? Many point"
        " to a proxy that buffers, or to a slow network.",
        query("sum(increase(lex_slow_clients_total{HERE}[1h]))"),
        unit=COUNT,
        width=4,
        warn=10,
        bad=100,
    ),
    lines(
        "Turn time by component",
        "Which component grows when turns become slow? Mean seconds of a turn. Tools that run"
        " in parallel count in full.",
        query("max by (part) (job_part:lex_turn_seconds:mean5m{HERE})", "{{part}}"),
        unit=SECONDS,
        width=12,
        is_stacked=True,
        links=[_SLOW_TURNS],
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
        links=[_LATE_CALLS],
    ),
)

_FIRST_CHUNK = row(
    "How long until an answer starts?",
    quantiles(
        "Time to first chunk",
        "How long does a client wait for the first text? From the query to the first chunk"
        " sent. The dashed line is the objective for 99 % of turns.",
        "job:lex_time_to_first_chunk_seconds",
        width=12,
        limit=2,
        links=[_LATE_CALLS],
    ),
    heat(
        "Every first chunk",
        "Are all first chunks a little late, or a few much too late? A dot is one turn, and opens"
        " its trace.",
        "lex_time_to_first_chunk_seconds_bucket",
        links=[_LATE_CALLS],
    ),
)

_TURNS = row(
    "How do turns end?",
    lines(
        "Turns by outcome",
        "How do turns end? disconnected and cancelled come from the client or from a drain."
        " failed and timed_out use up the error budget.",
        query("sum by (outcome) (job_outcome:lex_turns:rate5m{HERE})", "{{outcome}}"),
        unit=PER_SECOND,
        is_stacked=True,
        links=[_FAILED_TURNS],
    ),
    quantiles(
        "Duration of turns",
        "How long does a turn take, from the query to its end?",
        "job:gen_ai_invoke_agent_duration_seconds",
        links=[_SLOW_TURNS],
    ),
    lines(
        "Error budget burn rate",
        "How many times faster than allowed is the error budget used up? At 1 it lasts 30"
        " days. 14.4 over one hour, or 6 over six hours, is a page.",
        query("max(job:lex_turns_ended_badly:ratio_rate1h{HERE}) / 0.005", "turns, 1 h"),
        query("max(job:lex_turns_ended_badly:ratio_rate6h{HERE}) / 0.005", "turns, 6 h"),
        query("max(job:lex_turns_ended_badly:ratio_rate3d{HERE}) / 0.005", "turns, 3 d"),
        query("max(job:lex_first_chunks_late:ratio_rate1h{HERE}) / 0.01", "first chunks, 1 h"),
        query("max(job:lex_first_chunks_late:ratio_rate6h{HERE}) / 0.01", "first chunks, 6 h"),
        query("max(job:lex_first_chunks_late:ratio_rate3d{HERE}) / 0.01", "first chunks, 3 d"),
        unit=COUNT,
        limit=1,
    ),
)

_CLIENTS = row(
    "What do clients do?",
    lines(
        "Open streams by transport",
        "How are clients connected: by SSE or by WebSocket?",
        query("sum by (transport) (lex_streams_open{HERE})", "{{transport}}"),
        unit=COUNT,
        is_stacked=True,
    ),
    lines(
        "Disconnects",
        "When do clients leave? before_first_chunk: they did not want to wait. Many while"
        " streaming point to a proxy that cuts streams.",
        query(
            "sum by (window) (rate(lex_stream_disconnects_total{HERE}[$__rate_interval])) * 60",
            "{{window}}",
        ),
        unit=PER_MINUTE,
        is_stacked=True,
    ),
    lines(
        "Resumes, heartbeats and slow clients",
        "Do clients resume, are streams silent, do clients stop reading? A rise of resumed or"
        " slow points to the network or a proxy; a rise of heartbeats to slow answers.",
        query("sum(rate(lex_resumed_streams_total{HERE}[$__rate_interval])) * 60", "resumed"),
        query("sum(rate(lex_heartbeats_total{HERE}[$__rate_interval])) * 60", "heartbeats"),
        query("sum(rate(lex_slow_clients_total{HERE}[$__rate_interval])) * 60", "slow clients"),
        unit=PER_MINUTE,
    ),
)

OVERVIEW = dashboard(
    "overview",
    "Overview",
    "Is Lex healthy? If it is slow, the second row says why: Groq, a tool, Lex or the client.",
    _WELL,
    _WHO,
    _FIRST_CHUNK,
    _TURNS,
    _CLIENTS,
)
