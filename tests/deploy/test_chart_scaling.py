"""Autoscalers count the work of this release, and nothing of another one."""

import re
from typing import Any

import yaml

from tests.deploy.chart import RELEASES, ROOT, one, texts, values_of
from tests.operations.expressions import names, parse, selectors

WORK = {"lex_streams_open", "lex_upstream_waiting"}


def query(release: str) -> str:
    trigger = one(RELEASES[release], "ScaledObject")["spec"]["triggers"][0]
    return str(trigger["metadata"]["query"])


def matchers(text: str) -> list[dict[str, str]]:
    return [
        {matcher.name: matcher.value for matcher in selector.matchers.matchers}
        for selector in selectors(parse(text))
    ]


def test_keda_asks_for_the_turns_that_do_work() -> None:
    assert names(parse(query("keda"))) == WORK


def test_the_query_matches_pods_of_this_release_only() -> None:
    for labels in matchers(query("keda")):
        assert labels["namespace"] == "shop"
        is_ours = re.compile(labels["pod"]).fullmatch
        assert is_ours("lex-6c9f7d8b54-x2kqp")
        for other in ("lex-two-6c9f7d8b54-x2kqp", "lex-2-0", "lex2-6c9f7d8b54-x2kqp", "lex-0"):
            assert not is_ours(other), other


def test_the_query_has_the_labels_of_a_cluster() -> None:
    assert [labels["cluster"] for labels in matchers(query("keda-with-secret"))] == ["eu", "eu"]


def test_keda_reads_each_credential_of_its_modes() -> None:
    made = one(RELEASES["keda-with-secret"], "TriggerAuthentication")
    trigger = one(RELEASES["keda-with-secret"], "ScaledObject")["spec"]["triggers"][0]

    assert trigger["authenticationRef"] == {"name": made["metadata"]["name"]}
    assert made["spec"]["secretTargetRef"] == [
        {"parameter": name, "name": "metrics", "key": name}
        for name in ("ca", "cert", "key", "bearerToken")
    ]
    assert "triggerauthentication.yaml" not in texts(RELEASES["keda-with-authentication"])


def test_the_adapter_of_the_documents_serves_the_metric_that_the_chart_asks_for() -> None:
    rule = adapter_rule()
    asked = values_of("values.yaml")["autoscaling"]["streamsMetric"]
    (metric,) = [
        each["pods"]["metric"]["name"]
        for each in one(RELEASES["autoscaling"], "HorizontalPodAutoscaler")["spec"]["metrics"]
    ]
    spoken = rule["metricsQuery"].replace("<<.GroupBy>>", "pod")
    spoken = spoken.replace("<<.LabelMatchers>>", 'namespace="shop"')

    assert rule["name"]["as"] == asked == metric
    assert names(parse(spoken)) == WORK
    assert rule["seriesQuery"].partition("{")[0] in WORK


def adapter_rule() -> Any:
    text = (ROOT / "deploy" / "README.md").read_text()
    (block,) = re.findall(r"```yaml\n(prometheus: .*?)```", text, re.DOTALL)
    (rule,) = yaml.safe_load(block)["rules"]["custom"]
    return rule


def test_a_pod_with_a_long_drain_leaves_at_the_longest_period_that_kubernetes_takes() -> None:
    values = {**RELEASES["autoscaling"], "terminationGracePeriodSeconds": 4000}
    behavior = one(values, "HorizontalPodAutoscaler")["spec"]["behavior"]

    assert behavior["scaleDown"]["policies"][0]["periodSeconds"] == 1800
