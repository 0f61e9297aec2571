"""Reads the Prometheus rules."""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.operations.expressions import labels_of, names, parse
from tests.operations.metrics import series

DEPLOY = Path(__file__).parents[2] / "deploy"
TESTS = sorted((DEPLOY / "prometheus" / "tests").glob("*.yml"))


@dataclass(frozen=True)
class Rule:
    """A recording rule or an alert."""

    name: str
    expression: str
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    is_alert: bool = False

    @property
    def identity(self) -> tuple[str, str]:
        """The name and window. The alerts of an objective share a name and differ by window."""
        return self.name, self.labels.get("window", "")


def _rule(raw: dict[str, Any]) -> Rule:
    return Rule(
        name=raw.get("record") or raw["alert"],
        expression=raw["expr"],
        labels=raw.get("labels", {}),
        annotations=raw.get("annotations", {}),
        is_alert="alert" in raw,
    )


def _rules() -> list[Rule]:
    files = sorted((DEPLOY / "prometheus" / "rules").glob("*.yml"))
    groups = [group for path in files for group in yaml.safe_load(path.read_text())["groups"]]
    return [_rule(raw) for group in groups for raw in group["rules"]]


RULES = _rules()
RECORDED = [rule for rule in RULES if not rule.is_alert]
ALERTS = [rule for rule in RULES if rule.is_alert]


def _known_series() -> dict[str, frozenset[str]]:
    """Measured series and recorded ones, since a rule may read the series that others record."""
    known, waiting = series(), RECORDED
    while waiting:
        ready = [rule for rule in waiting if names(parse(rule.expression)) <= set(known)]
        assert ready, f"nothing has what these read: {[rule.name for rule in waiting]}"
        for rule in ready:
            known[rule.name] = labels_of(parse(rule.expression), known) | set(rule.labels)
        waiting = [rule for rule in waiting if rule not in ready]
    return known


KNOWN = _known_series()


@cache
def cases() -> list[tuple[str, list[dict[str, Any]]]]:
    """Each alert that a rule test checks, with the alerts that it expects to fire."""
    return [
        (case["alertname"], case["exp_alerts"])
        for path in TESTS
        for test in yaml.safe_load(path.read_text())["tests"]
        for case in test.get("alert_rule_test", ())
    ]
