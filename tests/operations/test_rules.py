"""Checks of the Prometheus rules that need no Prometheus."""

import re

import pytest

from deploy import objectives
from tests.operations.boards import BOARDS, expressions
from tests.operations.expressions import chosen_values, labels_of, names, parse, selectors
from tests.operations.metrics import VALUES
from tests.operations.rules import ALERTS, KNOWN, RECORDED, RULES, Rule, cases

by_name = pytest.mark.parametrize("rule", RULES, ids=lambda rule: "-".join(rule.identity))
each_alert = pytest.mark.parametrize("alert", ALERTS, ids=lambda rule: "-".join(rule.identity))


@by_name
def test_a_rule_reads_what_is_measured_or_recorded(rule: Rule) -> None:
    labels_of(parse(rule.expression), KNOWN)


@by_name
def test_a_rule_chooses_values_that_labels_have(rule: Rule) -> None:
    for selector in selectors(parse(rule.expression)):
        for label, values in chosen_values(selector).items():
            possible = VALUES.get((selector.name or "", label))
            assert possible is None or values <= possible


@pytest.mark.parametrize("rule", RECORDED, ids=lambda rule: rule.name)
def test_a_recorded_series_is_named_for_its_level_metric_and_operations(rule: Rule) -> None:
    level, metric, operations = rule.name.split(":")
    labels = KNOWN[rule.name]

    assert re.fullmatch(r"(lex|gen_ai)_\w+", metric)
    assert operations
    assert {"namespace", "job"} <= labels
    spoken = {"instance", "namespace", "pod", "job"}
    short = {"gen_ai_request_model": "model", "gen_ai_tool_name": "tool"}
    others = {short.get(label, label) for label in labels - spoken}
    assert set(level.split("_")) == others | {level.split("_")[0]}
    assert level.split("_")[0] == ("instance" if "instance" in labels else "job")


def test_every_recorded_series_is_read() -> None:
    asked = [rule.expression for rule in RULES] + [
        each for board in BOARDS for each in expressions(board)
    ]
    read = {name for each in asked for name in names(parse(each))}

    assert {rule.name for rule in RECORDED} - read == set()


@each_alert
def test_an_alert_says_what_it_is_how_bad_and_what_to_read(alert: Rule) -> None:
    assert alert.labels["severity"] in {"page", "ticket"}
    assert set(alert.annotations) == {"summary", "description", "runbook_url"}
    assert alert.annotations["runbook_url"] == f"deploy/RUNBOOK.md#{alert.name.lower()}"
    assert "$value" in alert.annotations["description"] or alert.name == "LexNoMetrics"


@each_alert
def test_an_alert_names_labels_that_it_has(alert: Rule) -> None:
    labels = labels_of(parse(alert.expression), KNOWN)

    for text in alert.annotations.values():
        assert set(re.findall(r"\$labels\.(\w+)", text)) <= labels


def test_the_objectives_are_written_from_their_source() -> None:
    assert objectives.RULES.read_text() == objectives.text(), "make dashboards"


def test_burn_rates_are_those_of_the_objectives() -> None:
    factors = {"1h": ("5m", "14.4"), "6h": ("30m", "6"), "1d": ("2h", "3"), "3d": ("6h", "1")}
    budgets = {"LexTurnsBurn": "0.005", "LexFirstChunkBurn": "0.01", "LexPaceBurn": "0.01"}
    burns = [alert for alert in ALERTS if "window" in alert.labels]

    assert len(burns) == len(budgets) * len(factors)
    for alert in burns:
        long, (short, factor) = alert.labels["window"], factors[alert.labels["window"]]
        for window in (long, short):
            burns_fast = f":ratio_rate{window} > {factor} * {budgets[alert.name]}\n"
            assert burns_fast in alert.expression
        assert f":increase{long} >= 10\n" in alert.expression
        assert alert.labels["severity"] == ("page" if long in {"1h", "6h"} else "ticket")


@each_alert
def test_an_alert_has_a_case_in_which_it_fires(alert: Rule) -> None:
    fired = {
        (name, each["exp_labels"].get("window", "")) for name, alerts in cases() for each in alerts
    }

    assert alert.identity in fired


@each_alert
def test_an_alert_has_a_case_in_which_it_is_silent(alert: Rule) -> None:
    assert (alert.name, []) in cases()
