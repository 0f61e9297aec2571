"""Checks the rules with Prometheus' own tool."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy.chart import RELEASES, one
from tests.operations.rules import DEPLOY, TESTS

RULES = sorted((DEPLOY / "prometheus" / "rules").glob("*.yml"))


def promtool(*arguments: object) -> None:
    program = shutil.which("promtool")
    assert program, "promtool is missing: make system-deps"
    done = subprocess.run(
        [program, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_are_rules() -> None:
    promtool("check", "rules", *RULES)


# It evaluates days of samples every five minutes.
@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_only_then(path: Path) -> None:
    promtool("test", "rules", path)


def test_turns_that_wait_for_a_rate_or_are_of_another_release_add_no_pods(tmp_path: Path) -> None:
    query = one(RELEASES["keda"], "ScaledObject")["spec"]["triggers"][0]["metadata"]["query"]
    pod, other = 'namespace="shop",pod="lex-6c9f7d8b54-x2kqp"', 'pod="lex-two-6c9f7d8b54-x2kqp"'
    series = {
        f'lex_streams_open{{{pod},transport="sse"}}': "300 305",
        f'lex_streams_open{{{pod},transport="websocket"}}': "0 1",
        f'lex_upstream_waiting{{{pod},gen_ai_request_model="one"}}': "250 250",
        f'lex_upstream_waiting{{{pod},gen_ai_request_model="two"}}': "60 50",
        f'lex_streams_open{{namespace="shop",{other},transport="sse"}}': "70 70",
        f'lex_streams_open{{{pod.replace("shop", "other")},transport="sse"}}': "80 80",
    }
    asked = [
        {"expr": query, "eval_time": moment, "exp_samples": [{"labels": "{}", "value": work}]}
        for moment, work in (("0m", 0), ("1m", 6))
    ]
    case = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": asked,
    }
    path = tmp_path / "work.yml"
    path.write_text(yaml.safe_dump({"tests": [case]}))

    promtool("test", "rules", path)
