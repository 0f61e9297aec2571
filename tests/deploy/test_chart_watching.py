"""A cluster's monitoring finds monitors, rules and dashboards, and values change the alerts."""

from typing import Any

import helm_python
import pytest

from tests.deploy.chart import RELEASES, Manifest, manifests, one, texts


def alerts(values: dict[str, Any]) -> dict[str, Manifest]:
    """The alerts by name; of those with several windows the last."""
    groups = one(values, "PrometheusRule")["spec"]["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def changed(**change: Any) -> dict[str, Any]:
    return {"prometheusRule": {"enabled": True, "alerts": change}}


def test_kube_prometheus_stack_finds_the_objects_of_the_production_release() -> None:
    selected = {"release": "kube-prometheus-stack"}
    boards = [
        each
        for each in manifests(RELEASES["prod"])
        if each["metadata"]["labels"].get("grafana_dashboard") == "1"
    ]

    for kind in ("PodMonitor", "PrometheusRule"):
        assert selected.items() <= one(RELEASES["prod"], kind)["metadata"]["labels"].items()
    assert len(boards) == 6


@pytest.mark.parametrize("group", ["podMonitor", "prometheusRule", "dashboards"])
def test_a_label_of_the_chart_stays(group: str) -> None:
    values = {group: {"enabled": True, "labels": {"app.kubernetes.io/instance": "other", "a": "b"}}}
    made = [each for each in manifests(values) if each["metadata"]["labels"].get("a") == "b"]

    assert made
    for each in made:
        assert each["metadata"]["labels"]["app.kubernetes.io/instance"] == "lex"


def test_a_monitor_in_another_namespace_selects_pods_of_the_release() -> None:
    monitor = one(RELEASES["watched-from-elsewhere"], "PodMonitor")

    assert monitor["metadata"]["namespace"] == "monitoring"
    assert monitor["spec"]["namespaceSelector"] == {"matchNames": ["shop"]}


def test_alerts_are_changed_by_values() -> None:
    shipped = alerts({"prometheusRule": {"enabled": True}})
    made = alerts(RELEASES["watched-from-elsewhere"])

    assert shipped.keys() - made.keys() == {"LexCacheShareFallen"}
    assert made["LexToolFailing"]["expr"].endswith("> 0.35")
    assert made["LexToolFailing"]["for"] == "1h30m"
    assert made["LexCostHigh"]["expr"].endswith("* 3600 > 1000000")
    severities = {name: alert["labels"]["severity"] for name, alert in made.items()}
    assert severities.pop("LexCostHigh") == "info"
    assert severities == {
        name: {"page": "critical", "ticket": "warning"}[shipped[name]["labels"]["severity"]]
        for name in severities
    }
    assert {alert["labels"]["team"] for alert in made.values()} == {"sales"}


def test_a_threshold_replaces_only_its_own_number() -> None:
    expression = alerts(changed(LexCustomersThrottled={"threshold": 0.9}))
    shipped = alerts(changed())

    assert expression["LexCustomersThrottled"]["expr"] == (
        shipped["LexCustomersThrottled"]["expr"].replace("> 0.5\n", "> 0.9\n")
    )


@pytest.mark.parametrize("name", ["LexTurnsBurn", "LexStoreDown", "LexDrainLong", "LexNoMetrics"])
def test_an_alert_without_a_threshold_takes_none(name: str) -> None:
    with pytest.raises(helm_python.HelmError, match=f"alerts.{name} has a threshold, but"):
        texts(changed(**{name: {"threshold": 1}}))


def test_an_alert_that_does_not_exist_is_refused() -> None:
    with pytest.raises(helm_python.HelmError, match="has LexTools, which is no alert: they are"):
        texts(changed(LexTools={"for": "5m"}))


def test_a_map_that_is_emptied_with_null_is_an_empty_one() -> None:
    emptied = {
        "podMonitor": {"enabled": True, "labels": None},
        "prometheusRule": {
            "enabled": True,
            **dict.fromkeys(("labels", "alertLabels", "severities", "alerts")),
        },
        "dashboards": {"enabled": True, "labels": None},
        "keda": {**dict.fromkeys(("queryLabels", "authenticationRef")), "enabled": True},
        "resources": {"limits": None, "requests": {"cpu": 1}},
    }

    made = texts({**RELEASES["keda"], **emptied})

    assert {"podmonitor.yaml", "prometheusrule.yaml", "scaledobject.yaml"} <= made.keys()
