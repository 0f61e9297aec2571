"""The examples for Argo CD, Flux, kustomize and Argo Rollouts: valid, and of the chart as it is."""

import functools
import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import kubernetes_validate  # type: ignore[import-untyped]  # it has no types
import pytest
import yaml

from tests.deploy.chart import CHART, ROOT, Manifest, Values, manifests, values_of
from tests.deploy.kustomize import EXAMPLES, built
from tests.operations.expressions import labels_of, parse
from tests.operations.metrics import series

FOLDER = Path(__file__).with_name("schemas")
SCHEMAS = {path.stem: json.loads(path.read_text()) for path in FOLDER.rglob("*.json")}
OF_EXAMPLES = {path.stem for path in (FOLDER / "examples").iterdir()}
FILES = sorted(EXAMPLES.rglob("*.yaml"))
VERSION = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]


def read(path: Path) -> list[Manifest]:
    return [found for found in yaml.safe_load_all(path.read_text()) if found]


def only(found: list[Manifest], kind: str, name: str = "lex") -> Manifest:
    (one,) = [each for each in found if each["kind"] == kind and each["metadata"]["name"] == name]
    return one


@functools.cache
def objects() -> list[Manifest]:
    return [found for path in FILES for found in read(path) if "kind" in found]


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    return built("kustomize", tmp_path_factory.mktemp("kustomize"))


@pytest.fixture(scope="module")
def canary(tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    return built("argo-rollouts", tmp_path_factory.mktemp("rollouts"))


def check(manifest: Manifest) -> None:
    if manifest["kind"] in SCHEMAS:
        jsonschema.validate(manifest, SCHEMAS[manifest["kind"]])
    else:
        newest = kubernetes_validate.latest_version()
        kubernetes_validate.validate(manifest, newest, strict=True)


def test_every_object_of_an_example_is_valid_by_its_schema() -> None:
    ours = [found for found in objects() if found["kind"] != "Kustomization"]

    assert {found["kind"] for found in ours} >= OF_EXAMPLES
    for found in ours:
        check(found)


@pytest.mark.parametrize("kind", sorted(OF_EXAMPLES))
def test_a_field_that_is_in_no_schema_is_refused(kind: str) -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMAS[kind])
    manifest = json.loads(json.dumps(next(each for each in objects() if each["kind"] == kind)))
    manifest["spec"]["misspelt"] = 1

    with pytest.raises(jsonschema.ValidationError, match="misspelt"):
        check(manifest)


def test_yamllint_finds_nothing() -> None:
    command = [str(Path(sys.executable).with_name("yamllint")), "--strict", str(EXAMPLES)]

    ran = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)

    assert (ran.returncode, ran.stdout) == (0, "")


def test_each_schema_names_its_origin() -> None:
    for kind in OF_EXAMPLES:
        origin = SCHEMAS[kind]["$comment"]
        assert re.search(r" v[\d.]+, [\w./-]+ \(Apache-2\.0\), sha256 [0-9a-f]{64}$", origin), kind


def test_what_kustomize_builds_is_the_release_that_helm_makes(release: list[Manifest]) -> None:
    made = manifests(shared_values())
    expected = {(each["kind"], each["metadata"]["name"]) for each in made if each["kind"] != "Pod"}

    found = {(each["kind"], each["metadata"]["name"]) for each in release}

    assert found == expected
    assert {each["metadata"]["namespace"] for each in release} == {"lex"}
    for each in release:
        check(each)


def shared_values() -> Values:
    values: Values = yaml.safe_load((EXAMPLES / "kustomize" / "values.yaml").read_text())
    return values


def test_all_tools_install_the_same_release_of_the_chart() -> None:
    application = only(objects(), "Application")["spec"]["source"]
    flux = only(objects(), "HelmRelease")["spec"]
    repository = only(objects(), "OCIRepository")["spec"]
    (inflated,) = read(EXAMPLES / "kustomize" / "kustomization.yaml")[0]["helmCharts"]

    assert application["helm"]["valuesObject"] == shared_values()
    assert flux["values"] == shared_values()
    assert {application["targetRevision"], repository["ref"]["tag"], inflated["version"]} == {
        VERSION
    }
    assert {
        f"oci://{application['repoURL']}/{application['chart']}",
        repository["url"],
        f"{inflated['repo']}/{inflated['name']}",
    } == {"oci://ghcr.io/owner/charts/lex"}


def test_the_values_are_a_production_release() -> None:
    """Apart from the way in, values-prod.yaml sets all that the examples set."""
    prod = values_of("values-prod.yaml")

    assert set(shared_values()) - set(prod) <= {"httpRoute"}


def test_flux_trusts_only_the_workflow_that_signs() -> None:
    (trusted,) = only(objects(), "OCIRepository")["spec"]["verify"]["matchOIDCIdentity"]
    workflow = "https://github.com/owner/lex/.github/workflows/release.yml"

    assert re.search(trusted["subject"], f"{workflow}@refs/tags/v{VERSION}")
    assert not re.search(trusted["subject"], f"{workflow}@refs/heads/main")
    assert not re.search(trusted["subject"], f"{workflow}@refs/tags/v{VERSION}-mine")
    assert re.search(trusted["issuer"], "https://token.actions.githubusercontent.com")


def test_a_sync_leaves_alone_what_controllers_write() -> None:
    spec = only(objects(), "Application")["spec"]
    (drift,) = only(objects(), "HelmRelease")["spec"]["driftDetection"]["ignore"]

    ignored = [
        (each["kind"], *each.get("jsonPointers", []), *each.get("jqPathExpressions", []))
        for each in spec["ignoreDifferences"]
    ]
    assert ignored == [
        ("Deployment", "/spec/replicas"),
        ("HTTPRoute", ".spec.rules[]?.backendRefs[]?.weight"),
    ]
    assert "RespectIgnoreDifferences=true" in spec["syncPolicy"]["syncOptions"]
    assert drift == {"paths": ["/spec/replicas"], "target": {"kind": "Deployment"}}


def test_the_pods_of_helm_test_stay_until_their_logs_are_read() -> None:
    """`helm test --logs` reads logs after the hooks, when a deleted pod has none left."""
    pods = [found for found in manifests({}) if found["kind"] == "Pod"]

    assert len(pods) == 2
    for pod in pods:
        policy = pod["metadata"]["annotations"]["helm.sh/hook-delete-policy"]
        assert policy == "before-hook-creation"


# The canary.


def test_a_canary_is_valid_and_of_the_pods_of_the_chart(canary: list[Manifest]) -> None:
    for each in canary:
        check(each)
    deployment, rollout = only(canary, "Deployment"), only(canary, "Rollout")

    assert rollout["spec"]["selector"] == deployment["spec"]["selector"]
    assert rollout["spec"]["workloadRef"]["name"] == deployment["metadata"]["name"]
    deadline = deployment["spec"]["progressDeadlineSeconds"]
    assert rollout["spec"]["progressDeadlineSeconds"] >= deadline
    # Nobody else may scale what the Rollout scales.
    assert "replicas" not in deployment["spec"]
    assert "replicas" not in rollout["spec"]
    assert only(canary, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["kind"] == "Rollout"


def test_traffic_is_divided_between_two_services_of_the_same_pods(canary: list[Manifest]) -> None:
    strategy = only(canary, "Rollout")["spec"]["strategy"]["canary"]
    stable = only(canary, "Service", strategy["stableService"])
    other = only(canary, "Service", strategy["canaryService"])
    route = only(canary, "HTTPRoute")
    (plugin,) = strategy["trafficRouting"]["plugins"].values()

    assert stable["spec"]["selector"] == other["spec"]["selector"]
    assert stable["spec"]["ports"] == other["spec"]["ports"]
    assert plugin == {"namespace": "lex", "httpRoute": route["metadata"]["name"]}
    (rule,) = route["spec"]["rules"]
    assert [(each["name"], each["port"]) for each in rule["backendRefs"]] == [
        (each["metadata"]["name"], each["spec"]["ports"][0]["port"]) for each in (stable, other)
    ]
    assert rule["timeouts"]["request"] == "0s"


def test_streams_end_before_their_pods_do(canary: list[Manifest]) -> None:
    """A pod without new turns stays for longer than a turn may last, also if the canary failed."""
    strategy = only(canary, "Rollout")["spec"]["strategy"]["canary"]
    settings = only(canary, "ConfigMap")["data"]
    longest = float(settings["TURN_TIMEOUT_SECONDS"])

    assert strategy["scaleDownDelaySeconds"] > longest + 30
    assert strategy["abortScaleDownDelaySeconds"] >= strategy["scaleDownDelaySeconds"]
    pod = only(canary, "Deployment")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > float(settings["DRAIN_SECONDS"])


def queries() -> dict[str, str]:
    (template,) = read(EXAMPLES / "argo-rollouts" / "analysis.yaml")
    return {
        metric["name"]: metric["provider"]["prometheus"]["query"]
        for metric in template["spec"]["metrics"]
    }


@pytest.mark.parametrize("name", queries())
def test_a_canary_is_judged_by_metrics_that_lex_has(name: str) -> None:
    query = queries()[name].replace("{{args.namespace}}", "lex").replace("{{args.hash}}", "5d9f")

    labels = labels_of(parse(query), series())

    assert labels == frozenset()
    selected = re.findall(r"\{([^}]*)\}", query)
    assert selected
    for each in selected:
        assert 'namespace="lex", pod=~"lex-5d9f-.+"' in each


def test_a_canary_is_judged_by_the_arguments_of_its_rollout(canary: list[Manifest]) -> None:
    analysis = only(canary, "Rollout")["spec"]["strategy"]["canary"]["analysis"]
    template = only(canary, "AnalysisTemplate")["spec"]
    used = {name for query in queries().values() for name in re.findall(r"args\.(\w+)", query)}

    assert analysis["templates"] == [{"templateName": "lex"}]
    given = {argument["name"] for argument in analysis["args"]}
    assert given == {argument["name"] for argument in template["args"]} == used
    for metric in template["metrics"]:
        # A metric without a `count` is measured until the canary ends.
        assert "count" not in metric
        assert "len(result) > 0" in metric["successCondition"]
