"""The chart's values: their names, defaults and destinations."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import pytest

from backend.settings import Settings
from tests.deploy.chart import (
    CHART,
    RELEASES,
    ROOT,
    Values,
    loaded,
    one,
    pod,
    rendered,
    settings,
    texts,
    values_of,
    variables,
)
from tests.documents.test_tables import defaults

DEFAULTS = values_of("values.yaml")
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
TEMPLATES = "".join(path.read_text() for path in sorted((CHART / "templates").rglob("*.*")))

OF_THE_IMAGE = {"LEX_REVISION"}
OF_THE_SERVER = {
    *("HOST", "PORT", "WEB_CONCURRENCY", "PRE_STOP_SECONDS", "TERMINATION_GRACE_SECONDS"),
}
"""Variables that deploy/gunicorn.conf.py reads instead of the service."""
OTHERWISE = {
    "DATABASE_URL": "sqlite:////data/lex.db",  # the volume
    "MIGRATE_ON_START": "false",  # an init container does it
    "CORS_ORIGINS": "none",  # the default is a page on a laptop
    "METRICS_PORT": "9090",  # not on the public port
    "ALLOW_ANONYMOUS": "true",  # only the cluster reaches a Service; the chart refuses public doors
}

every_release = pytest.mark.parametrize("release", RELEASES)


def test_every_setting_can_be_reached() -> None:
    reached = {name for values in RELEASES.values() for name in variables(values)}

    assert {name.upper() for name in Settings.model_fields} - OF_THE_IMAGE <= reached


def test_every_variable_is_known_to_the_service() -> None:
    known = {name.upper() for name in Settings.model_fields} | OF_THE_SERVER

    for values in RELEASES.values():
        assert {name for name in settings(values) if not name.startswith("OTEL_")} <= known


def test_what_is_not_said_is_as_in_the_service() -> None:
    made, service = settings({}), defaults()

    for name in made.keys() & service.keys():
        assert made[name] == OTHERWISE.get(name, service[name]), name


@every_release
def test_the_service_takes_the_settings_of_every_release(release: str) -> None:
    given = {name.lower(): value for name, value in variables(RELEASES[release]).items()}

    taken = Settings(_env_file=None, **given)  # type: ignore[arg-type]

    assert taken.model_name == given["model_name"]
    assert taken.max_streams == int(given["max_streams"])


def test_a_million_is_no_power_of_ten() -> None:
    assert settings({"maxBodyBytes": 1_000_000})["MAX_BODY_BYTES"] == "1000000"
    assert settings({"chunkFlushMs": 12.5})["CHUNK_FLUSH_MS"] == "12.5"


def test_a_secret_goes_past_the_config_map() -> None:
    secrets = {"GROQ_API_KEY", "DATABASE_URL", "REDIS_URL", "JWT_SECRET", "SESSION_COOKIE_SECRET"}
    secrets.add("LOG_HASH_KEY")

    for name in ("prod", "jwt-secret", "shared"):
        values = RELEASES[name]
        (container,) = pod(values)["containers"]
        sources = {
            each["name"]: each["valueFrom"]["secretKeyRef"]["key"]
            for each in container["env"]
            if each["name"] in secrets
        }
        assert sources == {key: key for key in values["secretKeys"]}
        assert not set(settings(values)) & set(sources)


def test_only_the_container_that_migrates_has_the_url_for_migrations() -> None:
    def told(values: Values) -> dict[str, bool]:
        containers = [*pod(values).get("initContainers", []), *pod(values)["containers"]]
        return {
            each["name"]: "MIGRATE_DATABASE_URL" in [pair["name"] for pair in each["env"]]
            for each in containers
        }

    assert told(RELEASES["pooler"]) == {"lex": True}
    apart = {**RELEASES["pooler"], "migrateOnStart": False}
    assert told(apart) == {"migrate": True, "lex": False}
    assert told(RELEASES["shared"]) == {"migrate": False, "lex": False}


def test_every_value_is_used() -> None:
    text = TEMPLATES.replace("$policy.", "networkPolicy.")
    named = set(re.findall(r"[\w.]*\.?(?:Values|v)\.([\w.]+)|\b(networkPolicy\.\w+)", text))
    used = {first or second for first, second in named}
    listed = set(re.search(r'"lex.settings" -}}(.*?){{', text, re.DOTALL)[1].split())  # type: ignore[index]

    assert set(leaves(DEFAULTS)) - used - listed == set()
    assert used - set(leaves(DEFAULTS)) - set(groups(DEFAULTS)) == set()


def leaves(values: Values, path: str = "") -> Iterator[str]:
    """The paths of all values. A free-form object, such as labels, counts as one value."""
    for name, value in values.items():
        here = f"{path}{name}"
        if isinstance(value, dict) and is_closed(here):
            yield from leaves(value, f"{here}.")
        else:
            yield here


def groups(values: Values) -> Iterator[str]:
    return (name for name, value in values.items() if isinstance(value, dict))


def schema_of(path: str) -> dict[str, Any]:
    found: dict[str, Any] = SCHEMA
    for name in path.split("."):
        found = found["properties"][name]
    return found


def is_closed(path: str) -> bool:
    return "properties" in schema_of(path) and path != "resources"


def test_every_value_has_a_line_and_a_place_in_the_schema() -> None:
    readme = (CHART / "README.md").read_text()

    assert re.findall(r"^\| `([\w.]+)` ", readme, re.MULTILINE) == list(leaves(DEFAULTS))
    for path in leaves(DEFAULTS):
        assert schema_of(path), path


def test_the_schema_has_no_value_that_does_not_exist() -> None:
    def named(schema: dict[str, Any], path: str = "") -> Iterator[str]:
        for name, below in schema.get("properties", {}).items():
            if "properties" in below and f"{path}{name}" != "resources":
                yield from named(below, f"{path}{name}.")
            else:
                yield f"{path}{name}"

    assert set(named(SCHEMA)) - {"global"} == set(leaves(DEFAULTS))


@pytest.mark.parametrize(
    "group", ["", *(name for name in groups(DEFAULTS) if is_closed(name)), "resources"]
)
def test_an_unknown_value_is_refused(group: str) -> None:
    values: Values = {group: {"misspelt": 1}} if group else {"misspelt": 1}

    with pytest.raises(helm_python.HelmError, match="misspelt"):
        texts(values)


@pytest.mark.parametrize(
    "values",
    [
        {"replicaCount": 0},
        {"replicaCount": "two"},
        {"metricsPort": 80},
        {"auth": "basic"},
        {"groqBaseUrl": "https://api.groq.com/openai/v1"},
        {"databaseUrl": "mysql://db/lex"},
        {"redisUrl": "http://redis"},
        {"redisUrl": "unix+cluster:///redis"},
        {"secretKeys": ["GROQ_KEY"]},
        {"image": {"digest": "latest"}},
        {"drainSeconds": -1},
        {"logLevel": "info"},
        {"autoscaling": {"scaleDownSeconds": 7200}},
        {"autoscaling": {"streamsMetric": "lex streams"}},
        {"resources": {"limits": {"memory": "512mi"}}},
        {"resources": {"limits": {"memory": ""}}},
        {"resources": {"requests": {"cpu": -1}}},
        {"service": {"loadBalancerSourceRanges": ["192.0.2.1"]}},
        {"service": {"ipFamilies": ["IPv4", "IPv4"]}},
        {"service": {"nodePort": "30080"}},
        {"podMonitor": {"namespace": "Monitoring"}},
        {"prometheusRule": {"severities": {"info": "none"}}},
        {"prometheusRule": {"alerts": {"LexToolFailing": {"threshold": "0.2"}}}},
        {"prometheusRule": {"alerts": {"LexToolFailing": {"for": 5}}}},
        {"keda": {"authModes": "Bearer"}},
        {"keda": {"authenticationRef": {"kind": "Secret"}}},
        {"keda": {"customHeaders": "X-Scope-OrgID"}},
        {"keda": {"queryLabels": {"a-b": "c"}}},
    ],
    ids=json.dumps,
)
def test_what_no_value_can_be_is_refused(values: Values) -> None:
    (name,) = values

    with pytest.raises(helm_python.HelmError, match=name):
        texts(values)


# Time limits that must fit each other.


@pytest.mark.parametrize("release", ["defaults", "prod", "particular"])
def test_the_server_finds_that_the_times_fit(release: str) -> None:
    checked = gunicorn_checks(RELEASES[release])

    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"drainSeconds": 300, "preStopSeconds": 20},
        {"drainSeconds": 0, "drainAcceptSeconds": 0, "preStopSeconds": 0, "toolTimeoutSeconds": 1},
        {"drainSeconds": 10.5, "toolTimeoutSeconds": 0.7},
    ],
    ids=json.dumps,
)
def test_the_shortest_grace_that_the_chart_takes_is_enough_for_the_server(values: Values) -> None:
    computed = pod(values)["terminationGracePeriodSeconds"]
    shortest = {**values, "terminationGracePeriodSeconds": computed - 9}

    assert pod(shortest)["terminationGracePeriodSeconds"] == computed - 9
    assert gunicorn_checks(shortest).returncode == 0
    with pytest.raises(helm_python.HelmError, match="too short"):
        texts({**values, "terminationGracePeriodSeconds": computed - 10})


def test_the_chart_adds_up_no_more_than_a_few_seconds_beyond_the_server() -> None:
    values = {"terminationGracePeriodSeconds": 109}
    made = {**variables({}), "TERMINATION_GRACE_SECONDS": "104"}

    assert pod(values)["terminationGracePeriodSeconds"] == 109
    assert "TERMINATION_GRACE_SECONDS of 104 is too short" in gunicorn(made).stderr


def test_what_the_pod_sleeps_is_what_the_server_is_told() -> None:
    (container,) = pod({"preStopSeconds": 12})["containers"]

    assert container["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", "12"]
    assert variables({"preStopSeconds": 12})["PRE_STOP_SECONDS"] == "12"


def gunicorn_checks(values: Values) -> subprocess.CompletedProcess[str]:
    return gunicorn(variables(values))


def gunicorn(made: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Start the server up to the point where it would listen."""
    command = [sys.executable, "-m", "gunicorn", "-c", "deploy/gunicorn.conf.py", "--check-config"]
    environment = {**os.environ, **made}
    return subprocess.run(
        command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True, timeout=60
    )


def test_an_autoscaler_leaves_the_number_of_pods_alone() -> None:
    assert "replicas" not in one(RELEASES["autoscaling"], "Deployment")["spec"]
    assert "replicas" not in one(RELEASES["keda"], "Deployment")["spec"]


def test_a_pod_leaves_only_after_another_had_time_to() -> None:
    behavior = one(RELEASES["autoscaling"], "HorizontalPodAutoscaler")["spec"]["behavior"]
    (policy,) = behavior["scaleDown"]["policies"]

    assert policy["type"] == "Pods"
    assert policy["value"] == 1
    assert policy["periodSeconds"] == pod(RELEASES["autoscaling"])["terminationGracePeriodSeconds"]
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] >= 300


# Values for parts that platform teams bring along.


def test_a_reference_wins_over_the_shared_secret_and_each_variable_is_there_once() -> None:
    values: Values = {"secretRefs": {"GROQ_API_KEY": {"name": "models", "key": "groq"}}}

    variables = pod(values)["containers"][0]["env"]

    (key,) = [each for each in variables if each["name"] == "GROQ_API_KEY"]
    assert key["valueFrom"] == {"secretKeyRef": {"name": "models", "key": "groq"}}


@every_release
def test_a_migration_sees_no_keys_of_models_and_no_keys_of_callers(release: str) -> None:
    ours = [
        each
        for each in pod(RELEASES[release]).get("initContainers", ())
        if each["name"] == "migrate"
    ]

    for container in ours:
        secret = [each["name"] for each in container["env"] if "valueFrom" in each]
        assert all(name.startswith("PG") or name.endswith("DATABASE_URL") for name in secret)
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert not mounted & {"api-keys", "prices"}


def test_a_new_version_of_the_chart_alone_restarts_no_pod(tmp_path: Path) -> None:
    copy = tmp_path / "lex"
    shutil.copytree(CHART, copy)
    chart = copy / "Chart.yaml"
    chart.write_text(
        re.sub(r"^version: .*$", "version: 9.9.9", chart.read_text(), flags=re.MULTILINE)
    )
    newer = helm_python.Chart.load(copy)

    for release in ("prod", "external-secret"):
        made = loaded(rendered(newer, RELEASES[release]))
        (deployment,) = [each for each in made if each["kind"] == "Deployment"]
        before = one(RELEASES[release], "Deployment")
        assert deployment["metadata"]["labels"]["helm.sh/chart"] == "lex-9.9.9"
        assert deployment["spec"]["template"] == before["spec"]["template"]


@pytest.mark.parametrize(
    ("tag", "label"),
    [
        ("1.10", "1.10"),
        (1764288000, "1764288000"),
        ("v1.2.3-rc.1", "v1.2.3-rc.1"),
        ("x" * 128, "x" * 63),
        ("a" * 62 + ".b", "a" * 62),
        ("_odd_", "odd"),
    ],
)
def test_labels_carry_the_tag_in_a_form_that_labels_have(tag: str | int, label: str) -> None:
    values: Values = {"image": {"tag": tag}}

    template = one(values, "Deployment")["spec"]["template"]

    assert template["metadata"]["labels"]["app.kubernetes.io/version"] == label
    assert template["spec"]["containers"][0]["image"] == f"lex:{tag}"


@pytest.mark.parametrize(
    "values",
    [
        {"image": {"tag": 1.5}},
        {"nameOverride": "Lex"},
        {"fullnameOverride": "a_b"},
        {"commonLabels": {"team": 5}},
        {"extraEnv": [{"name": "PORT", "value": 8000}]},
        {"extraEnv": [{"value": "nameless"}]},
        {"secretRefs": {"GROQ_API_KEY": {"name": "models"}}},
        {"secretRefs": {"groq": {"name": "models", "key": "k"}}},
        {"caBundles": {"My CA": {"secretName": "ca"}}},
        {"dnsPolicy": "Sometimes"},
        {"serviceAccount": {"annotations": {"number": 1}}},
        {"extraVolumeMounts": [{"name": "x"}]},
    ],
)
def test_a_value_that_kubernetes_would_refuse_later_is_refused_at_once(values: Values) -> None:
    with pytest.raises(helm_python.HelmError):
        texts(values)
