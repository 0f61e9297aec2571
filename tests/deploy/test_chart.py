"""The rendered chart is valid, reviewed and complete."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import helm_python
import jsonschema
import kubernetes_validate  # type: ignore[import-untyped]  # it has no types
import pytest
import yaml

from tests.deploy.chart import (
    CHART,
    GOLDEN,
    RELEASES,
    ROOT,
    Manifest,
    loaded,
    manifests,
    one,
    pod,
    rendered,
    texts,
)
from tests.deploy.golden import golden

VERSIONS = ["1.29", "1.33", "1.35", kubernetes_validate.latest_version()]
SCHEMAS = {
    path.stem: json.loads(path.read_text())
    for path in Path(__file__).with_name("schemas").glob("*.json")
}

EXTRA = "extraobjects.yaml"
"""The template of objects that operators write."""

every_release = pytest.mark.parametrize("release", RELEASES)


@every_release
@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid_strictly(release: str, version: str) -> None:
    ours = [made for made in manifests(RELEASES[release]) if made["kind"] not in SCHEMAS]

    assert len(ours) >= 5
    for manifest in ours:
        kubernetes_validate.validate(manifest, version, strict=True)


@every_release
def test_every_custom_resource_is_valid_by_its_own_schema(release: str) -> None:
    for manifest in manifests(RELEASES[release]):
        if manifest["kind"] in SCHEMAS:
            jsonschema.validate(manifest, SCHEMAS[manifest["kind"]])


@pytest.mark.parametrize("kind", SCHEMAS)
def test_a_field_that_is_in_no_schema_is_refused(kind: str) -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMAS[kind])
    found = [made for values in RELEASES.values() for made in manifests(values)]
    manifest = next(made for made in found if made["kind"] == kind)
    manifest["spec"]["misspelt"] = 1

    with pytest.raises(jsonschema.ValidationError, match="misspelt"):
        jsonschema.validate(manifest, SCHEMAS[kind])


@every_release
def test_what_a_release_becomes_was_reviewed(release: str) -> None:
    """After an intended change, run `python -m tests.deploy.golden` and read the diff."""
    reviewed = (GOLDEN / f"{release}.yaml").read_text()

    assert golden(release) == reviewed


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.glob("*.yaml")} == set(RELEASES)


def test_every_template_becomes_something_in_some_release() -> None:
    made = {path for values in RELEASES.values() for path in texts(values)}
    folder = CHART / "templates"
    there = {str(path.relative_to(folder)) for path in folder.rglob("*.*") if path.suffix != ".tpl"}

    assert made | {"dashboards.yaml"} == there


def test_a_template_makes_one_kind_of_object() -> None:
    for values in RELEASES.values():
        for path, text in texts(values).items():
            if path.endswith(".yaml") and path != EXTRA:
                assert len({made["kind"] for made in yaml.safe_load_all(text) if made}) == 1, path


@every_release
def test_objects_are_in_the_namespace_and_say_whose_they_are(release: str) -> None:
    elsewhere = {
        "PodMonitor": RELEASES[release].get("podMonitor"),
        "PrometheusRule": RELEASES[release].get("prometheusRule"),
        "ConfigMap": RELEASES[release].get("dashboards"),
    }
    ours = {path: text for path, text in texts(RELEASES[release]).items() if path != EXTRA}

    for manifest in loaded(ours):
        named = (elsewhere.get(manifest["kind"]) or {}).get("namespace", "shop")
        is_board = manifest["metadata"]["labels"].get("grafana_dashboard")
        expected = named if is_board or manifest["kind"] != "ConfigMap" else "shop"
        assert manifest["metadata"]["namespace"] == expected
        assert manifest["metadata"]["labels"]["app.kubernetes.io/instance"] == "lex"


@every_release
def test_every_pod_is_restricted(release: str) -> None:
    values = RELEASES[release]
    theirs = [*values.get("initContainers", []), *values.get("extraContainers", [])]
    automounts = values.get("serviceAccount", {}).get("automountToken", False)
    server, *tests = pods(values)

    assert server["automountServiceAccountToken"] is automounts
    assert all(spec["automountServiceAccountToken"] is False for spec in tests)
    for spec in (server, *tests):
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        ours = [*spec.get("initContainers", []), *spec["containers"]]
        for container in [each for each in ours if each not in theirs]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


def pods(values: dict[str, Any]) -> list[Manifest]:
    found: list[Manifest] = [m["spec"] for m in manifests(values) if m["kind"] == "Pod"]
    assert len(found) == 2
    return [pod(values), *found]


@pytest.mark.parametrize("kind", ["Service", "PodDisruptionBudget", "NetworkPolicy", "PodMonitor"])
def test_what_selects_pods_selects_the_servers_and_no_tests(kind: str) -> None:
    values = RELEASES["prod"]
    spec = one(values, kind)["spec"]
    selector = spec.get("podSelector", spec.get("selector"))
    wanted = selector.get("matchLabels", selector)
    servers = one(values, "Deployment")["spec"]["template"]["metadata"]["labels"]
    tests = [made["metadata"]["labels"] for made in manifests(values) if made["kind"] == "Pod"]

    assert wanted.items() <= servers.items()
    assert not any(wanted.items() <= labels.items() for labels in tests)


def test_a_change_of_settings_replaces_the_pods() -> None:
    def checksum(values: dict[str, Any]) -> str:
        template = one(values, "Deployment")["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/config"])

    assert checksum({}) == checksum({"replicaCount": 1})
    assert checksum({}) != checksum({"modelName": "another"})


def test_small_mode_has_one_pod_and_one_volume() -> None:
    deployment = one({}, "Deployment")["spec"]

    assert deployment["replicas"] == 1
    assert deployment["strategy"] == {"type": "Recreate"}
    assert one({}, "PersistentVolumeClaim")["spec"]["accessModes"] == ["ReadWriteOnce"]


def test_a_database_is_migrated_once_and_before_it_is_used() -> None:
    def migrations(values: dict[str, Any]) -> tuple[list[str], str]:
        (text,) = [text for path, text in texts(values).items() if path == "configmap.yaml"]
        initial = [container["name"] for container in pod(values).get("initContainers", [])]
        return initial, yaml.safe_load(text)["data"]["MIGRATE_ON_START"]

    assert migrations(RELEASES["shared"]) == (["migrate"], "false")
    assert migrations({**RELEASES["shared"], "migrateOnStart": True}) == ([], "true")


def test_a_stream_is_neither_buffered_nor_cut_on_its_way() -> None:
    annotations = one(RELEASES["ingress"], "Ingress")["metadata"]["annotations"]
    (rule,) = one(RELEASES["httproute"], "HTTPRoute")["spec"]["rules"]

    assert annotations["nginx.ingress.kubernetes.io/proxy-buffering"] == "off"
    assert int(annotations["nginx.ingress.kubernetes.io/proxy-read-timeout"]) > 60
    assert rule["timeouts"] == {"request": "0s", "backendRequest": "0s"}


def test_a_network_policy_lets_out_only_what_is_used() -> None:
    def ports(release: str) -> set[int]:
        egress = one(RELEASES[release], "NetworkPolicy")["spec"]["egress"]
        return {port["port"] for rule in egress for port in rule["ports"]}

    assert ports("prod") == {53, 5432, 6379, 4317, 443}
    assert one(RELEASES["closed"], "NetworkPolicy")["spec"]["egress"] is None
    assert len(one(RELEASES["closed"], "NetworkPolicy")["spec"]["ingress"]) == 1


def test_public_addresses_are_none_of_a_cluster() -> None:
    egress = one(RELEASES["prod"], "NetworkPolicy")["spec"]["egress"]
    (https,) = [rule for rule in egress if rule["ports"][0]["port"] == 443]
    kept_out = {address for block in https["to"] for address in block["ipBlock"]["except"]}

    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"} <= kept_out


# Files that the chart takes from elsewhere.


def test_rules_and_dashboards_are_the_files_of_the_project() -> None:
    groups = [
        group
        for path in sorted((ROOT / "deploy" / "prometheus" / "rules").glob("*.yml"))
        for group in yaml.safe_load(path.read_text())["groups"]
    ]
    boards = {
        path.name: json.loads(path.read_text())
        for path in (ROOT / "deploy" / "dashboards" / "json").glob("*.json")
    }
    assert one(RELEASES["watched"], "PrometheusRule")["spec"]["groups"] == groups
    assert dashboards(manifests(RELEASES["watched"])) == boards


@pytest.mark.parametrize("address", ["https://git.example.com/lex", "https://git.example.com/lex/"])
def test_alerts_link_to_the_runbook_at_the_address_of_a_value(address: str) -> None:
    shipped = _links({"prometheusRule": {"enabled": True}})

    linked = _links({"prometheusRule": {"enabled": True, "runbookUrl": address}})

    assert shipped[0].startswith("deploy/RUNBOOK.md#")
    assert linked == [f"https://git.example.com/lex/{link}" for link in shipped]


def test_the_address_of_the_runbook_is_absolute() -> None:
    with pytest.raises(helm_python.HelmError, match="runbookUrl"):
        texts({"prometheusRule": {"enabled": True, "runbookUrl": "git.example.com/lex"}})


def _links(values: dict[str, Any]) -> list[str]:
    groups = one(values, "PrometheusRule")["spec"]["groups"]
    rules = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    return [rule["annotations"]["runbook_url"] for rule in rules]


def test_the_package_has_rules_and_dashboards(tmp_path: Path) -> None:
    chart = with_files(tmp_path)

    archive = helm_python.package(chart, destination=tmp_path)
    packaged = helm_python.Chart.load(archive)
    made = loaded(rendered(packaged, RELEASES["watched"]))

    assert dashboards(made)["lex-streams.json"] == {"title": "Streams {{ of }} Lex"}
    (rule,) = [manifest for manifest in made if manifest["kind"] == "PrometheusRule"]
    assert {"name": "horns", "rules": [{"alert": "Silent", "expr": "horns == 0", "for": "5m"}]} in (
        rule["spec"]["groups"]
    )
    jsonschema.validate(rule, SCHEMAS["PrometheusRule"])


def with_files(folder: Path) -> Path:
    """A copy of the chart, as in a package, with an additional dashboard and rule."""
    chart = folder / "lex"
    shutil.copytree(CHART, chart)
    board = chart / "files" / "dashboards" / "lex-streams.json"
    board.write_text('{\n  "title": "Streams {{ of }} Lex"\n}\n')
    rule = chart / "files" / "rules" / "horns.yml"
    rule.write_text(
        "groups: [{name: horns, rules: [{alert: Silent, expr: horns == 0, for: 5m}]}]\n"
    )
    return chart


def dashboards(made: list[Manifest]) -> dict[str, Any]:
    return {
        name: json.loads(text)
        for manifest in made
        if manifest["metadata"]["labels"].get("grafana_dashboard") == "1"
        for name, text in manifest["data"].items()
    }


# The chart's own metadata.


@every_release
def test_helm_finds_no_fault_with_it(release: str) -> None:
    report = helm_python.lint(CHART, RELEASES[release], strict=True, kube_version="v1.33.0")

    said = [message["error"] for message in report["messages"]]
    assert report["errors"] == []
    assert said == ["icon is recommended"]


def test_its_yaml_is_tidy() -> None:
    files = [str(path) for path in sorted(CHART.glob("*.yaml"))]
    relaxed = ("document-start", "line-length", "comments", "comments-indentation")
    rules = json.dumps({"extends": "default", "rules": dict.fromkeys(relaxed, "disable")})

    assert len(files) == 3
    assert run("yamllint", "--strict", "-d", rules, *files) == ""


def test_its_schema_is_a_schema() -> None:
    assert "ok" in run("check_jsonschema", "--check-metaschema", str(CHART / "values.schema.json"))


def test_its_readme_is_made_from_its_values() -> None:
    script = str(ROOT / "deploy" / "helm" / "readme.py")

    made = subprocess.run(
        [sys.executable, script, "--check"], check=False, capture_output=True, text=True
    )

    assert made.stderr == ""
    assert made.returncode == 0


def test_its_versions_are_those_of_the_service() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    pyproject = (ROOT / "pyproject.toml").read_text()

    assert f'version = "{chart["appVersion"]}"' in pyproject
    assert re.fullmatch(r"\d+\.\d+\.\d+", chart["version"])


def run(module: str, *arguments: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def notes(release: str) -> str:
    (text,) = [text for path, text in texts(RELEASES[release]).items() if path == "NOTES.txt"]
    return text


def test_the_notes_say_which_credential_a_request_needs() -> None:
    asked = {release: notes(release) for release in ("defaults", "api-keys", "jwt-secret")}

    assert "Bearer" not in asked["defaults"]
    for release, credential in {"api-keys": "an API key", "jwt-secret": "a JSON Web Token"}.items():
        (curl,) = [line for line in asked[release].splitlines() if "curl" in line]
        assert '-H "Authorization: Bearer $TOKEN"' in curl
        assert f"Each request needs {credential}" in asked[release]


@every_release
def test_the_notes_name_every_secret_that_somebody_must_create(release: str) -> None:
    described = json.dumps(pod(RELEASES[release]))
    keys = re.findall(r'"secretKeyRef": {[^}]*"name": "([\w-]+)"', described)
    files = re.findall(r'"secretName": "([\w-]+)"', described)
    kinds = [manifest["kind"] for manifest in manifests(RELEASES[release])]

    assert keys
    for name in files if "ExternalSecret" in kinds else (*keys, *files):
        assert f"Secret {name} with" in notes(release)
