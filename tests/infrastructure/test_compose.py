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


UNASKED = {
    *("otel/opentelemetry-collector-contrib", "grafana/tempo", "grafana/loki"),
    *("quay.io/prometheuscommunity/postgres-exporter", "oliver006/redis_exporter"),
}
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
    known |= {"HOST", "PORT", "WEB_CONCURRENCY", "TERMINATION_GRACE_SECONDS", "PRE_STOP_SECONDS"}

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


@pytest.mark.parametrize("service", services(with_images=True))
def test_a_service_comes_back_and_its_log_stays_small(service: dict[str, Any]) -> None:
    assert service["restart"] == "unless-stopped"
    assert service["logging"]["driver"] == "json-file"
    assert {"max-size", "max-file"} == service["logging"]["options"].keys()


def test_what_services_have_in_common_is_the_same_in_every_file() -> None:
    common = [read["x-service"] for file in FILES if "x-service" in (read := compose(file))]

    assert len(common) > 3
    assert all(each == common[0] for each in common)


def entered(environment: dict[str, str], folder: Path, written: str | None) -> tuple[str, str]:
    """Run the entry point of `lex` as its container would; return the line and the environment."""
    lex = compose(FOLDER / "compose.yaml")["services"]["lex"]
    script, file = lex["entrypoint"][1:]
    mounted = {to: FOLDER / source for source, to, *_ in (v.split(":") for v in lex["volumes"])}
    assert mounted[str(Path(file).parent)].resolve() == ROOT / "backend"
    if written is not None:
        (folder / ".env").write_text(written)
    ran = subprocess.run(
        [sys.executable, mounted[script], folder / ".env", "env"],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    line, _, passed = ran.stdout.partition("\n")
    return line, passed


SAMPLE = (ROOT / "backend" / ".env.sample").read_text()


@pytest.mark.parametrize(
    ("environment", "written", "key", "place"),
    [
        ({"GROQ_API_KEY": "gsk_a"}, None, "gsk_a", "the environment"),
        ({"GROQ_API_KEY": "gsk_a"}, "GROQ_API_KEY=gsk_b", "gsk_a", "the environment"),
        ({}, "GROQ_API_KEY='gsk_b'", "gsk_b", "backend/.env"),
        ({"GROQ_API_KEY": ""}, "export groq_api_key=gsk_b\n", "gsk_b", "backend/.env"),
    ],
)
def test_with_a_key_groq_is_asked(
    environment: dict[str, str], written: str | None, key: str, place: str, tmp_path: Path
) -> None:
    line, passed = entered(environment, tmp_path, written)

    assert line == f"GROQ_API_KEY is from {place}: answers come from Groq."
    assert f"GROQ_API_KEY={key}\n" in passed
    assert "GROQ_BASE_URL" not in passed


@pytest.mark.parametrize(
    "written",
    [None, SAMPLE, "GROQ_API_KEY=your-key-here", "GROQ_API_KEY=<key>", "GROQ_API_KEY=gsk_..."],
    ids=["no file", "the sample", "words", "brackets", "dots"],
)
def test_without_a_key_the_stand_in_is_asked(written: str | None, tmp_path: Path) -> None:
    line, passed = entered({"MODEL_NAME": "mine"}, tmp_path, written)

    assert line.startswith("No GROQ_API_KEY in the environment or in backend/.env: answers come")
    assert "GROQ_BASE_URL=http://standin:9100\n" in passed
    assert "MODEL_NAME=groq-standin\n" in passed


def test_other_settings_of_the_file_count_unless_the_containers_need_their_own(
    tmp_path: Path,
) -> None:
    set_here = compose(FOLDER / "compose.yaml")["services"]["lex"]["environment"]
    fixed = {name: str(value) for name, value in set_here.items() if value is not None}
    written = "MAX_ROUNDS=3\nHOST=127.0.0.1\nPORT=8080\nDATABASE_URL=sqlite:///lex.db\n"

    _, passed = entered(fixed, tmp_path, written)

    assert {"HOST", "PORT", "DATABASE_URL"} <= fixed.keys()
    lines = set(passed.splitlines())
    assert {"MAX_ROUNDS=3", "PORT=8000", "HOST=0.0.0.0", "DATABASE_URL=sqlite:////data/lex.db"} <= (
        lines
    )


@pytest.mark.parametrize(("content", "reason"), [(b"\xff\xfe", "UTF-8"), (None, "directory")])
def test_a_file_that_cannot_be_read_is_told(
    content: bytes | None, reason: str, tmp_path: Path
) -> None:
    file = tmp_path / ".env"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)

    line, _ = entered({}, tmp_path, None)

    assert reason in line
    assert "groq-standin" in line


def scraped() -> dict[str, list[str]]:
    """The targets of each job."""
    jobs = compose(FOLDER / "prometheus/prometheus.yml")["scrape_configs"]
    return {
        job["job_name"]: [
            *(target for each in job.get("static_configs", ()) for target in each["targets"]),
            *(
                f"{name}:{each['port']}"
                for each in job.get("dns_sd_configs", ())
                for name in each["names"]
            ),
        ]
        for job in jobs
    }


def test_every_service_with_metrics_is_scraped_and_nothing_else() -> None:
    targets = {target.partition(":")[0] for each in scraped().values() for target in each}
    defined = {name for file in FILES for name in compose(file)["services"]}
    without = {"nginx", "standin", "postgres", "redis", "locust", "locust-worker"}

    assert targets - {"localhost"} == defined - without - {"prometheus"}


def test_every_variant_leaves_the_port_of_metrics_open() -> None:
    for file in FILES:
        lex = compose(file)["services"].get("lex", {})
        assert lex.get("environment", {}).get("METRICS_PORT", 9464) == 9464, file
        assert "uvicorn" not in lex.get("command", [])  # its command line opens one port


def test_make_adds_the_exporters_where_there_is_something_to_export() -> None:
    def files(parts: str) -> str:
        return subprocess.run(
            ["/usr/bin/env", "make", "--dry-run", "up", f"WITH={parts}"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip

    assert "compose.exporters.yaml" in files("storage observability")
    assert "compose.exporters.yaml" not in files("storage")


def test_log_lines_go_to_the_port_that_the_collector_opens() -> None:
    services_ = compose(FOLDER / "compose.observability.yaml")["services"]
    options = services_["lex"]["logging"]["options"]
    collector = compose(FOLDER / "collector/collector.yaml")
    sources = compose(FOLDER / "grafana/provisioning/datasources/lex.yaml")["datasources"]
    port = collector["receivers"]["fluentforward"]["endpoint"].rpartition(":")[2]

    assert options["fluentd-address"] == f"127.0.0.1:{port}"
    assert options["fluentd-async"] == "true", "else Lex could not start without the collector"
    assert f"127.0.0.1:{port}:{port}" in services_["collector"]["ports"]
    by_id = {source["uid"]: source for source in sources}
    assert by_id["tempo"]["jsonData"]["tracesToLogsV2"]["datasourceUid"] == by_id["loki"]["uid"]
    (link,) = by_id["loki"]["jsonData"]["derivedFields"]
    assert link["datasourceUid"] == "tempo"
    for line in ('{"trace_id": "' + "a" * 32 + '"}', "event trace_id=" + "a" * 32):
        found = re.search(link["matcherRegex"], line)
        assert found
        assert found[1] == "a" * 32


RELOADED = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
print("began", flush=True)
time.sleep(60)  # it is ended by SIGTERM
"""


def test_the_development_variant_restarts_the_server_when_a_file_changes(tmp_path: Path) -> None:
    file = tmp_path / "sources" / "module.py"
    file.parent.mkdir()
    file.write_text("1")
    script, python = str(FOLDER / "reload.py"), sys.executable
    command = [python, script, str(file.parent), python, "-c", RELOADED]

    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reloading:
        assert reloading.stdout
        said = [reloading.stdout.readline()]
        file.write_text("22")
        said += [reloading.stdout.readline(), reloading.stdout.readline()]
        reloading.terminate()
        code = reloading.wait(60)

    assert said == ["began\n", "Reloading...\n", "began\n"]
    assert code == 7
