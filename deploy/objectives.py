"""The service level objectives, and their rules as a file: `python -m deploy.objectives`.

The alerts have several windows and burn rates, as in chapter 5 of Google's Site Reliability
Workbook, https://sre.google/workbook/alerting-on-slos/.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent

RULES = Path(__file__).parent / "prometheus" / "rules" / "objectives.yml"

_INTRODUCTION = """\
# The objectives over 30 days, and alerts that fire when the error budget burns too fast.
# `make dashboards` writes this file from deploy/objectives.py.
#
# These are multi-window, multi-burn-rate alerts as in the SRE workbook. A burn rate of 14.4 over
# one hour uses up 2 % of the budget, 6 over six hours 5 %, 3 over a day 10 %, and 1 over three days
# 10 %. The short window beside each ends the alert soon after the cause ends. An alert also needs
# ten bad cases, or one failure among the three turns of a night would wake somebody.

groups:
"""

LEAST_CASES = 10
"""The number of bad cases in the long window that an alert needs."""


@dataclass(frozen=True)
class Burn:
    """An alert of each objective: how fast the budget burns, over which windows."""

    long: str
    short: str
    rate: str
    severity: str
    said: str
    lasts: str


BURNS = (
    Burn("1h", "5m", "14.4", "page", "hour", "two days"),
    Burn("6h", "30m", "6", "page", "six hours", "five days"),
    Burn("1d", "2h", "3", "ticket", "day", "ten days"),
    Burn("3d", "6h", "1", "ticket", "three days", "30 days"),
)

WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")


@dataclass(frozen=True)
class Objective:
    """A share of cases that must be good.

    `every` and `bad` are PromQL for the counts of all and of bad cases, with `FUNCTION` and
    `WINDOW` where the function and its range belong.
    """

    group: str
    comment: str
    recorded: str
    every: str
    bad: str
    budget: str
    alert: str
    summary: str
    what: str
    allows: str

    def counted(self, cases: str, function: str, window: str) -> str:
        return cases.replace("FUNCTION", function).replace("WINDOW", window)


OUR_REFUSALS = (
    "overloaded|storage_unavailable|upstream_unavailable|internal_error|draining"
    "|identity_unavailable"
)
"""Codes of refusals that Lex causes, and not the client."""

_REFUSED = f'FUNCTION(lex_refusals_total{{code=~"{OUR_REFUSALS}"}}[WINDOW])'

_LOST = "FUNCTION(lex_turns_lost_total[WINDOW])"


def _sum(*counts: str) -> str:
    """The sum of several counters, of which an older version may lack some."""
    if len(counts) == 1:
        return f"sum by (namespace, job) ({counts[0]})"
    return "sum by (namespace, job) (\n  " + "\n  or ".join(counts) + "\n)"


def _turns(outcomes: str) -> str:
    return _sum(f'FUNCTION(lex_turns_total{{outcome=~"{outcomes}"}}[WINDOW])', _LOST, _REFUSED)


def _later_than(histogram: str, bound: str, *, only: str = "", beside: str = "") -> tuple[str, str]:
    """All cases, and those above a bound of the histogram. `beside` are bad ones without a time."""
    more = [f"FUNCTION({beside}[WINDOW])"] if beside else []
    labels = f"{{{only}}}" if only else ""
    every = _sum(f"FUNCTION({histogram}_count{labels}[WINDOW])", *more)
    within = ", ".join(filter(None, [f'le="{bound}"', only]))
    return every, f"{every}\n- {_sum(f'FUNCTION({histogram}_bucket{{{within}}}[WINDOW])')}"


_CHUNKS, _LATE_CHUNKS = _later_than(
    "lex_time_to_first_chunk_seconds", "2.0", beside="lex_first_chunks_missed_total"
)
_CALLS, _SLOW_CALLS = _later_than(
    "gen_ai_client_operation_time_per_output_chunk_seconds", "0.1", only='purpose="turn"'
)

OBJECTIVES = (
    Objective(
        group="lex-objective-turns",
        comment=(
            "99.5 % of turns end well. Turns that the client broke off (disconnected, cancelled) do"
            " not count.\n  # Turns of dead workers, and refusals that Lex causes, are bad ones."
        ),
        recorded="job:lex_turns_ended_badly",
        every=_turns("completed|failed|timed_out"),
        bad=_turns("failed|timed_out"),
        budget="0.005",
        alert="LexTurnsBurn",
        summary="Too many turns of {{ $labels.job }} fail",
        what="turns of the last {window} failed, timed out, were lost or refused",
        allows="0.5 %",
    ),
    Objective(
        group="lex-objective-first-chunks",
        comment=(
            "99 % of first chunks arrive within 2 s of the query. A client that leaves later than"
            "\n  # that, without a chunk, had none in time."
        ),
        recorded="job:lex_first_chunks_late",
        every=_CHUNKS,
        bad=_LATE_CHUNKS,
        budget="0.01",
        alert="LexFirstChunkBurn",
        summary="Too many answers of {{ $labels.job }} start late",
        what="first chunks of the last {window} took longer than 2 s",
        allows="1 %",
    ),
    Objective(
        group="lex-objective-pace",
        comment="99 % of answers are written at ten tokens a second or faster.",
        recorded="job:lex_answers_slow",
        every=_CALLS,
        bad=_SLOW_CALLS,
        budget="0.01",
        alert="LexPaceBurn",
        summary="Too many answers of {{ $labels.job }} are written slowly",
        what="answers of the last {window} were slower than ten tokens a second",
        allows="1 %",
    ),
)


def text() -> str:
    """The content of `RULES`."""
    return _INTRODUCTION + "\n".join(
        "\n".join(_group(objective)) + "\n" for objective in OBJECTIVES
    )


def _group(objective: Objective) -> Iterator[str]:
    yield f"  # {objective.comment}\n  - name: {objective.group}\n    rules:"
    for window in WINDOWS:
        yield f"      - record: {objective.recorded}:ratio_rate{window}"
        yield "        expr: |"
        bad = objective.counted(objective.bad, "rate", window)
        every = objective.counted(objective.every, "rate", window)
        yield _indented(f"{_bracketed(bad)}\n/ {_bracketed(f'{every} > 0')}")
    for burn in BURNS:
        yield f"      - record: {objective.recorded}:increase{burn.long}"
        yield "        expr: |"
        yield _indented(objective.counted(objective.bad, "increase", burn.long))
    for burn in BURNS:
        yield from _alert(objective, burn)


def _bracketed(expression: str) -> str:
    return f"(\n{indent(expression, '  ')}\n)"


def _indented(expression: str) -> str:
    return indent(expression, 10 * " ")


def _alert(objective: Objective, burn: Burn) -> Iterator[str]:
    recorded, limit = objective.recorded, f"{burn.rate} * {objective.budget}"
    what = f"{objective.what.format(window=burn.said)}; the objective allows {objective.allows}."
    yield f"""
      - alert: {objective.alert}
        expr: |
          {recorded}:ratio_rate{burn.long} > {limit}
          and {recorded}:ratio_rate{burn.short} > {limit}
          and {recorded}:increase{burn.long} >= {LEAST_CASES}
        labels: {{severity: {burn.severity}, window: {burn.long}}}
        annotations:
          summary: {objective.summary}
          description: >-
            {{{{ $value | humanizePercentage }}}} of the {what}
            At this rate the error budget of 30 days lasts {burn.lasts}.
          runbook_url: deploy/RUNBOOK.md#{objective.alert.lower()}"""


if __name__ == "__main__":
    RULES.write_text(text())
