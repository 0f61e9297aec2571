"""The configuration of Alertmanager knows all alerts, and its documentation lists what it does."""

import re
from typing import Any

import yaml

from tests.documents.markdown import rows, section
from tests.operations.rules import ALERTS, DEPLOY

CONFIGURATION = yaml.safe_load((DEPLOY / "alertmanager" / "alertmanager.yml").read_text())
NAMES = {alert.name for alert in ALERTS}


def named(matchers: list[str]) -> set[str]:
    """The alerts that matchers name; empty if they choose by other labels."""
    found = [re.fullmatch(r'alertname =~? "(.+)"', matcher) for matcher in matchers]
    return {name for match in found if match for name in match[1].split("|")}


def rules() -> list[tuple[set[str], set[str], dict[str, Any]]]:
    """The sources, targets and text of each rule that names alerts."""
    every = CONFIGURATION["inhibit_rules"]
    found = [(named(r["source_matchers"]), named(r["target_matchers"]), r) for r in every]
    return [each for each in found if each[0] or each[1]]


def test_inhibition_names_existing_alerts_and_never_the_alert_itself() -> None:
    assert rules()
    for sources, targets, _ in rules():
        assert sources
        assert targets
        assert sources | targets <= NAMES
        assert not sources & targets


def test_an_alert_keeps_back_only_alerts_about_the_same_lex() -> None:
    for rule in CONFIGURATION["inhibit_rules"]:
        assert {"namespace", "job"} <= set(rule["equal"])


def test_no_alert_that_is_kept_back_keeps_back_another() -> None:
    """Otherwise the notification about a consequence's consequence would depend on the order."""
    sources = {name for found, _, _ in rules() for name in found}
    targets = {name for _, found, _ in rules() for name in found}

    assert not sources & targets


def test_a_page_keeps_back_tickets_of_its_name() -> None:
    assert {
        "source_matchers": ['severity = "page"'],
        "target_matchers": ['severity = "ticket"'],
        "equal": ["alertname", "namespace", "job"],
    } in CONFIGURATION["inhibit_rules"]


def test_a_ticket_keeps_back_no_page() -> None:
    pages = {alert.name for alert in ALERTS if alert.labels["severity"] == "page"}

    for sources, targets, _ in rules():
        assert sources <= pages or not targets & pages


def test_the_documentation_lists_all_inhibition() -> None:
    table = rows(section("deploy/README.md", "Watching it"))
    cells = [[re.findall(r"`(Lex\w+)`", cell) for cell in row] for row in table if len(row) == 2]
    listed = [(set(one), set(other)) for one, other in cells if one and other]

    assert listed == [(sources, targets) for sources, targets, _ in rules()]
