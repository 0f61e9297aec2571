"""The compose files are valid, hardened, pinned, and documented in their README.

The system tests run the stack. They cannot run the observability part, because its images are not
available there.
"""

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

import backend
from backend.network.host_names import Host, HostPattern
from backend.settings import Settings
from tests.processes import ROOT
from tests.serving import settings

FOLDER = ROOT / "infrastructure"
FILES = sorted(FOLDER.glob("compose*.yaml"))
BIN = Path(sys.executable).parent


@cache
def compose(file: Path) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(file.read_text())
    return read


def services(*, with_images: bool) -> list[Any]:
    return [
        pytest.param(service, id=f"{file.stem}-{name}")
        for file in FILES
        for name, service in compose(file)["services"].items()
        if not with_images or "image" in service
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_file_fits_the_schema_of_compose(file: Path) -> None:
    command = [str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(file)]

    checked = subprocess.run(command, capture_output=True, text=True, check=False)

    assert checked.returncode == 0, checked.stdout


def test_yamllint_finds_nothing() -> None:
    command = [str(BIN / "yamllint"), "--strict", "infrastructure", ".github"]

    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert (checked.returncode, checked.stdout) == (0, "")


@pytest.mark.parametrize("service", services(with_images=True))
def test_a_service_is_pinned_limited_and_may_do_nothing_it_need_not(
    service: dict[str, Any],
) -> None:
    _, _, version = service["image"].partition(":")

    assert re.match(r"v?\d+\.\d+(\.\d+)?(-|$)", version)
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"mem_limit", "cpus", "pids_limit"} <= service.keys()
    assert not service.get("privileged")


UNASKED = {"otel/opentelemetry-collector-contrib", "grafana/tempo"}
"""Images without a program for a health check. Prometheus watches them by their metrics."""


@pytest.mark.parametrize("service", services(with_images=True))
def test_a_service_has_a_health_check_or_a_reason_why_not(service: dict[str, Any]) -> None:
    name = service["image"].partition(":")[0]

    assert ("healthcheck" in service) == (name not in UNASKED)


@pytest.mark.parametrize("service", services(with_images=False))
def test_a_service_is_reached_from_this_machine_alone(service: dict[str, Any]) -> None:
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


@pytest.mark.parametrize("service", services(with_images=False))
def test_what_is_mounted_exists_and_is_read_only(service: dict[str, Any]) -> None:
    mounts = [mount.split(":") for mount in service.get("volumes", [])]
    files = [mount for mount in mounts if mount[0].startswith(".")]

    assert [source for source, *_ in files if not (FOLDER / source).exists()] == []
    assert all(mode == ["ro"] for _, _, *mode in files)


def test_the_versions_are_those_of_the_service() -> None:
    defined = [service for file in FILES for service in compose(file)["services"].values()]

    ours = {service["image"] for service in defined if "build" in service}
    assert ours == {f"{name}:{backend.__version__}" for name in ("lex", "groq-standin", "lex-load")}


@pytest.mark.parametrize("service", services(with_images=False))
def test_a_secret_comes_from_the_environment_or_there_is_none(service: dict[str, Any]) -> None:
    secret = re.compile("KEY|SECRET|PASSWORD|TOKEN|CREDENTIAL")

    given = {name: value for name, value in service.get("environment", {}).items() if value}
    assert [name for name in given if secret.search(name)] == []


def test_every_variable_that_is_set_is_one_of_the_service() -> None:
    known = {name.upper() for name in Settings.model_fields}
    known |= {"WEB_CONCURRENCY", "TERMINATION_GRACE_SECONDS", "PRE_STOP_SECONDS"}

    given: set[str] = set()
    for file in FILES:
        given |= compose(file)["services"].get("lex", {}).get("environment", {}).keys()

    assert {name for name in given if not name.startswith("OTEL_")} <= known


def test_for_load_the_service_is_told_what_it_knows_each_with_its_reason() -> None:
    lex = compose(FOLDER / "compose.load.yaml")["services"]["lex"]
    told = (FOLDER / lex["env_file"]).read_text()

    reasoned = re.findall(r"^# .*\n([A-Z_]+)=", told, re.MULTILINE)
    assert reasoned == re.findall(r"^([A-Z_]+)=", told, re.MULTILINE) != []
    assert set(reasoned) <= {name.upper() for name in Settings.model_fields}
    # Compose would prefer these.
    assert (
        not set(reasoned)
        & compose(FOLDER / "compose.yaml")["services"]["lex"]["environment"].keys()
    )


def test_the_container_is_given_the_time_that_the_service_is_told_of() -> None:
    lex = compose(FOLDER / "compose.yaml")["services"]["lex"]

    assert lex["stop_grace_period"] == f"{lex['environment']['TERMINATION_GRACE_SECONDS']}s"


def test_what_is_scraped_is_where_the_service_is_measured() -> None:
    lex = compose(FOLDER / "compose.yaml")["services"]["lex"]
    (job, *_) = compose(FOLDER / "prometheus/prometheus.yml")["scrape_configs"]

    assert job["dns_sd_configs"][0]["port"] == lex["environment"]["METRICS_PORT"]


@pytest.mark.parametrize(
    ("host", "is_allowed"),
    [
        ("localhost:8000", True),
        ("127.0.0.1:43210", True),
        ("[::1]:8000", True),
        ("nginx:8000", True),
        ("lex:8000", True),
        ("rebound.example:8000", False),
        ("10.0.0.7:8000", False),
    ],
)
def test_the_service_answers_to_names_of_this_machine_and_of_its_containers(
    host: str, *, is_allowed: bool
) -> None:
    lex = compose(FOLDER / "compose.yaml")["services"]["lex"]
    hosts = settings(allowed_hosts=lex["environment"]["ALLOWED_HOSTS"]).allowed_hosts

    asked = Host.read(host)
    assert asked
    patterns = map(HostPattern.read, hosts)
    assert any(each.fits(asked, default_port=80) for each in patterns) == is_allowed


def test_the_load_tests_ask_for_a_name_that_is_answered() -> None:
    allowed = compose(FOLDER / "compose.yaml")["services"]["lex"]["environment"]["ALLOWED_HOSTS"]
    told = (FOLDER / "compose.load.yaml").read_text()

    (name,) = re.findall(r"\$\{LOAD_HOST:-http://([^:}]+)", told)
    assert name in allowed.split(",")


def test_the_readme_tells_of_every_file() -> None:
    readme = (FOLDER / "README.md").read_text()

    assert [file.name for file in FILES if f"`{file.name}`" not in readme] == []


@pytest.mark.parametrize("key", ["", "a-key"])
def test_without_a_key_the_stand_in_is_asked_and_with_one_nobody_interferes(key: str) -> None:
    lex = compose(FOLDER / "compose.yaml")["services"]["lex"]
    command = [part.replace("$$", "$") for part in lex["entrypoint"]]
    environment = {"PATH": os.environ["PATH"], "GROQ_API_KEY": key}

    ran = subprocess.run(
        [*command, "env"], env=environment, capture_output=True, text=True, check=True
    )

    lines = ran.stdout.splitlines()
    assert ("GROQ_BASE_URL=http://standin:9100" in lines) == (not key)
    assert f"GROQ_API_KEY={key or 'groq-standin'}" in lines
    assert ("No GROQ_API_KEY" in ran.stdout) == (not key)
