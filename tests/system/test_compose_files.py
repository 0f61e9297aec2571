"""Compose and promtool accept all files, including those whose images no test runs."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.processes import ROOT

FOLDER = ROOT / "infrastructure"


def run(program: str, *arguments: str) -> str:
    found = shutil.which(program)
    assert found, f"{program} is missing: make system-deps"
    environment = {"PATH": os.environ["PATH"], "GROQ_API_KEY": "a-key"}
    ran = subprocess.run(
        [found, *arguments],
        cwd=FOLDER, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([], {"lex", "nginx", "standin"}),
        (["development"], {"lex", "nginx", "standin"}),
        (["storage"], {"lex", "nginx", "standin", "postgres", "redis"}),
        (["storage", "replicas"], {"lex", "nginx", "standin", "postgres", "redis"}),
        (
            ["observability"],
            {
                *("lex", "nginx", "standin", "collector", "tempo"),
                *("prometheus", "alertmanager", "grafana", "loki"),
            },
        ),
        (
            ["storage", "observability", "exporters", "replicas", "load"],
            {
                *("lex", "nginx", "standin", "postgres", "redis", "collector", "tempo", "loki"),
                *("prometheus", "alertmanager", "grafana", "locust", "locust-worker"),
                *("postgres-exporter", "redis-exporter"),
            },
        ),
        (["load"], {"lex", "nginx", "standin", "locust", "locust-worker"}),
    ],
    ids=lambda given: "+".join(given) if isinstance(given, list) else "",
)
def test_the_files_fit_together(parts: list[str], expected: set[str]) -> None:
    names = ["compose.yaml", *(f"compose.{part}.yaml" for part in parts)]
    files = [argument for name in names for argument in ("--file", name)]

    merged = yaml.safe_load(run("docker-compose", *files, "config"))

    assert merged["services"].keys() == expected
    assert merged["services"]["lex"]["environment"]["GROQ_API_KEY"] == "a-key"


def test_prometheus_can_read_its_configuration_and_the_rules_beside_it(tmp_path: Path) -> None:
    shutil.copy(FOLDER / "prometheus/prometheus.yml", tmp_path)
    shutil.copytree(ROOT / "deploy/prometheus/rules", tmp_path / "rules")

    checked = run("promtool", "check", "config", str(tmp_path / "prometheus.yml"))

    assert "rule files found" in checked


def test_prometheus_sends_alerts_to_the_alertmanager_that_compose_starts() -> None:
    prometheus = yaml.safe_load((FOLDER / "prometheus/prometheus.yml").read_text())
    services = yaml.safe_load((FOLDER / "compose.observability.yaml").read_text())["services"]
    (manager,) = prometheus["alerting"]["alertmanagers"]
    ((target,),) = [each["targets"] for each in manager["static_configs"]]
    name, port = target.split(":")

    assert services[name]["image"].startswith("prom/alertmanager:")
    assert services[name]["ports"] == [f"127.0.0.1:{port}:{port}"]
    (mounted,) = services[name]["volumes"]
    source, path, _ = mounted.split(":")
    assert (FOLDER / source).resolve() == ROOT / "deploy/alertmanager/alertmanager.yml"
    assert f"--config.file={path}" in services[name]["command"]
