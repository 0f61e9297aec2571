"""The dashboard Overview: do customers get answers, who is slow, and why?"""

from deploy.dashboards.layout import dashboard, row
from deploy.dashboards.overview_answers import ANSWERS
from deploy.dashboards.overview_causes import CAUSES
from deploy.dashboards.overview_links import FAILED_TURNS, LATE_CALLS, SLOW_TURNS
from deploy.dashboards.overview_parts import PARTS
from deploy.dashboards.panels import (
    COUNT,
    PER_MINUTE,
    PER_SECOND,
    board,
    heat,
    lines,
    number,
    quantiles,
    query,
)

_LOAD = row(
    "How much is Lex used?",
    number(
        "Turns per second",
        "How much is Lex used? Turns that end in a second.",
        query("sum(job:lex_turns:rate5m{HERE})"),
        unit=PER_SECOND,
        width=8,
    ),
    number(
        "Open streams",
        "How many clients receive an answer at this moment?",
        query("sum(lex_streams_open{HERE})"),
        unit=COUNT,
        width=8,
        links=[board("Runtime", "runtime")],
    ),
    number(
        "Cut clients",
        "How many clients did Lex cut in the last hour because they did not read? Many point"
        " to a proxy that buffers, or to a slow network.",
        query("sum(increase(lex_slow_clients_total{HERE}[1h]))"),
        unit=COUNT,
        width=8,
        warn=5,
        bad=20,
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
        links=[LATE_CALLS],
    ),
    heat(
        "Every first chunk",
        "Are all first chunks a little late, or a few much too late? A dot is one turn, and opens"
        " its trace.",
        "lex_time_to_first_chunk_seconds_bucket",
        links=[LATE_CALLS],
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
        links=[FAILED_TURNS],
    ),
    quantiles(
        "Duration of turns",
        "How long does a turn take, from the query to its end?",
        "job:gen_ai_invoke_agent_duration_seconds",
        links=[SLOW_TURNS],
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
        query("max(job:lex_answers_slow:ratio_rate1h{HERE}) / 0.01", "pace, 1 h"),
        query("max(job:lex_answers_slow:ratio_rate6h{HERE}) / 0.01", "pace, 6 h"),
        query("max(job:lex_answers_slow:ratio_rate3d{HERE}) / 0.01", "pace, 3 d"),
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
    "Do customers get answers? If they wait, the second row says for whom, and the third one why.",
    ANSWERS,
    PARTS,
    CAUSES,
    _LOAD,
    _FIRST_CHUNK,
    _TURNS,
    _CLIENTS,
)
