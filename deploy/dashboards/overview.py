"""Is Lex well, and if it is slow, who is?"""

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
    "Is it well?",
    number(
        "Turns that end well",
        "Do turns come to their end? Of those that the client did not break off, in the last hour;"
        " the objective is 99.5 %.",
        query("1 - max(job:lex_turns_ended_badly:ratio_rate1h{HERE})"),
        unit=SHARE,
        width=4,
        warn=0.999,
        bad=0.995,
        links=[_FAILED_TURNS],
    ),
    number(
        "First chunks within 2 s",
        "Do answers begin in time? In the last hour; the objective is 99 %.",
        query("1 - max(job:lex_first_chunks_late:ratio_rate1h{HERE})"),
        unit=SHARE,
        width=4,
        warn=0.995,
        bad=0.99,
        links=[_LATE_CALLS],
    ),
    number(
        "Turned away",
        "Which share of queries is refused for reasons of ours: no place, no store, no model?",
        query("max(job:lex_turns_refused:ratio_rate5m{HERE})"),
        unit=SHARE,
        width=4,
        warn=0.01,
        bad=0.05,
        links=[board("Limits", "limits")],
    ),
    number(
        "Alerts",
        "Does any alert of Lex fire? deploy/RUNBOOK.md has a section for each.",
        query('count(ALERTS{alertname=~"Lex.+", alertstate="firing"}) or vector(0)'),
        unit=COUNT,
        width=4,
        warn=1,
        bad=2,
    ),
    number(
        "Turns",
        "How much is it used? Turns that ended in a second.",
        query("sum(job:lex_turns:rate5m{HERE})"),
        unit=PER_SECOND,
        width=4,
    ),
    number(
        "Open streams",
        "How many clients are being answered at this moment?",
        query("sum(lex_streams_open{HERE})"),
        unit=COUNT,
        width=4,
        links=[board("Runtime", "runtime")],
    ),
)

_WHO = row(
    "Who is slow: Groq, a tool, Lex itself or the client?",
    number(
        "Groq: first byte",
        "How long until Groq answers? 95th percentile of its slowest model. If this is red and"
        " Lex's own time is not, it is Groq.",
        query("max(job_model:lex_upstream_first_byte_seconds:p95_rate5m{HERE})"),
        unit=SECONDS,
        width=5,
        warn=1,
        bad=2,
        links=[board("Upstream", "upstream")],
    ),
    number(
        "Groq: in its queue",
        "How much of that were queries waiting at Groq, as Groq says? 95th percentile.",
        query("max(job_model:lex_upstream_queue_seconds:p95_rate5m{HERE})"),
        unit=SECONDS,
        width=5,
        warn=0.5,
        bad=1,
        links=[board("Upstream", "upstream")],
    ),
    number(
        "Slowest tool",
        "How long does the slowest tool take? 95th percentile.",
        query("max(job_tool:gen_ai_execute_tool_duration_seconds:p95_rate5m{HERE})"),
        unit=SECONDS,
        width=5,
        warn=1,
        bad=5,
        links=[board("Tools", "tools")],
    ),
    number(
        "Lex itself",
        "How much does Lex add to a turn, beside Groq and the tools? 95th percentile.",
        query("max(job:lex_overhead_seconds:p95_rate5m{HERE})"),
        unit=SECONDS,
        width=5,
        warn=0.1,
        bad=0.5,
        links=[board("Runtime", "runtime")],
    ),
    number(
        "Slow clients",
        "How many clients were cut in the last hour, since they did not take what they were sent?",
        query("sum(increase(lex_slow_clients_total{HERE}[1h]))"),
        unit=COUNT,
        width=4,
        warn=10,
        bad=100,
    ),
    lines(
        "Where the seconds of a turn go",
        "Whose share grows when turns become slow? Mean seconds of a turn, by who takes them;"
        " tools that run in parallel count in full.",
        query("max by (party) (job_party:lex_turn_seconds:mean5m{HERE})", "{{party}}"),
        unit=SECONDS,
        width=12,
        is_stacked=True,
        links=[_SLOW_TURNS],
    ),
    lines(
        "Waiting for the first chunk",
        "Is a late first chunk Groq's or ours? 95th percentiles: what lies between the client's"
        " line and Groq's is Lex, and the tools of earlier rounds.",
        query(
            "max(job:lex_time_to_first_chunk_seconds:p95_rate5m{HERE})",
            "what the client waits",
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
    "How long until the answer begins?",
    quantiles(
        "Time to first chunk",
        "How long does a client wait for the first text? From the query to the first chunk sent;"
        " the line is the objective, which 99 % are to keep.",
        "job:lex_time_to_first_chunk_seconds",
        width=12,
        limit=2,
        links=[_LATE_CALLS],
    ),
    heat(
        "Every first chunk",
        "Are all a little late, or a few very? A dot is one turn, and opens its trace.",
        "lex_time_to_first_chunk_seconds_bucket",
        links=[_LATE_CALLS],
    ),
)

_TURNS = row(
    "How do turns end?",
    lines(
        "Turns by outcome",
        "How do turns end? Disconnected and cancelled are the client's doing, or a drain's.",
        query("sum by (outcome) (job_outcome:lex_turns:rate5m{HERE})", "{{outcome}}"),
        unit=PER_SECOND,
        is_stacked=True,
        links=[_FAILED_TURNS],
    ),
    quantiles(
        "Duration of turns",
        "How long does a turn take from its query to its end?",
        "job:gen_ai_invoke_agent_duration_seconds",
        links=[_SLOW_TURNS],
    ),
    lines(
        "Speed of the error budget",
        "How many times faster than allowed is the error budget used up? At 1 it lasts 30 days;"
        " 14.4 within an hour, or 6 within six, is a page.",
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
        "Who is connected, and how?",
        query("sum by (transport) (lex_streams_open{HERE})", "{{transport}}"),
        unit=COUNT,
        is_stacked=True,
    ),
    lines(
        "Disconnects",
        "When do clients leave? Before the first chunk means that they would not wait; many while"
        " streaming hint at a proxy that cuts.",
        query(
            "sum by (window) (rate(lex_stream_disconnects_total{HERE}[$__rate_interval])) * 60",
            "{{window}}",
        ),
        unit=PER_MINUTE,
        is_stacked=True,
    ),
    lines(
        "Coming back, waiting, stalling",
        "Do readers come back, do streams fall silent, do clients stop reading?",
        query("sum(rate(lex_resumed_streams_total{HERE}[$__rate_interval])) * 60", "resumed"),
        query("sum(rate(lex_heartbeats_total{HERE}[$__rate_interval])) * 60", "heartbeats"),
        query("sum(rate(lex_slow_clients_total{HERE}[$__rate_interval])) * 60", "slow, cut"),
        unit=PER_MINUTE,
    ),
)

OVERVIEW = dashboard(
    "overview",
    "Overview",
    "Is Lex well? If it is slow, the second row says who is: Groq, a tool, Lex or the client.",
    _WELL,
    _WHO,
    _FIRST_CHUNK,
    _TURNS,
    _CLIENTS,
)
