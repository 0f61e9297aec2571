"""The row of the Overview that tells whether customers get answers."""

from deploy.dashboards.layout import row
from deploy.dashboards.overview_links import FAILED_TURNS, LATE_CALLS
from deploy.dashboards.panels import (
    COUNT,
    SHARE,
    board,
    number,
    query,
)

ANSWERS = row(
    "Do customers get answers?",
    number(
        "Successful turns",
        "Do turns complete? Share of the last hour. Failed, timed out, lost and refused ones count"
        " against it; the client's own stops do not. The objective is 99.5 %.",
        query("1 - max(job:lex_turns_ended_badly:ratio_rate1h{HERE})"),
        unit=SHARE,
        width=3,
        warn=0.999,
        bad=0.995,
        links=[FAILED_TURNS],
    ),
    number(
        "First chunks within 2 s",
        "Do answers start in time? Share of the last hour, with the customers who left without"
        " one. The objective is 99 %.",
        query("1 - max(job:lex_first_chunks_late:ratio_rate1h{HERE})"),
        unit=SHARE,
        width=3,
        warn=0.995,
        bad=0.99,
        links=[LATE_CALLS],
    ),
    number(
        "Answers at a good pace",
        "Are answers written at ten tokens a second or faster? Share of the last hour. The"
        " objective is 99 %.",
        query("1 - max(job:lex_answers_slow:ratio_rate1h{HERE})"),
        unit=SHARE,
        width=3,
        warn=0.995,
        bad=0.99,
        links=[board("Upstream", "upstream")],
    ),
    number(
        "Gave up",
        "Do customers get no chunk at all, after more than 2 s? Share of queries; normally 0.",
        query(
            "sum(rate(lex_first_chunks_missed_total{HERE}[5m]))"
            " / (sum(rate(lex_first_chunks_missed_total{HERE}[5m]))"
            " + sum(rate(lex_time_to_first_chunk_seconds_count{HERE}[5m])) > 0)"
        ),
        unit=SHARE,
        width=3,
        warn=0.01,
        bad=0.05,
        links=[LATE_CALLS],
    ),
    number(
        "Lost turns",
        "Do turns end because their worker died? Turns of the last hour; normally 0. If red, see"
        " the dashboard Runtime.",
        query("sum(increase(lex_turns_lost_total{HERE}[1h]))"),
        unit=COUNT,
        width=3,
        warn=1,
        bad=5,
        links=[board("Runtime", "runtime")],
    ),
    number(
        "Refused by Lex",
        "Does Lex refuse queries because it has no slot, no store or no model? Share of queries;"
        " normally 0. Above 5 % for 5 minutes is an alert.",
        query("max(job:lex_turns_refused:ratio_rate5m{HERE})"),
        unit=SHARE,
        width=3,
        warn=0.01,
        bad=0.05,
        links=[board("Limits", "limits")],
    ),
    number(
        "Refused for a limit",
        "Are customers over a rate limit or budget? Share of queries. Above 50 % for 5 minutes is"
        " an alert: maybe Lex counts all clients as one.",
        query("max(job:lex_requests_refused:ratio_rate5m{HERE})"),
        unit=SHARE,
        width=3,
        warn=0.1,
        bad=0.5,
        links=[board("Limits", "limits")],
    ),
    number(
        "Firing alerts",
        "Does an alert of this Lex fire? Normally 0. deploy/RUNBOOK.md has a section for each.",
        query('count(ALERTS{alertname=~"Lex.+", alertstate="firing", HERE}) or vector(0)'),
        unit=COUNT,
        width=3,
        warn=1,
        bad=2,
    ),
)
