"""Replays a recorded drill through promtool: the same rules and panels, in uncompressed time."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from loadtests.drill.compressed import SCRAPED_EVERY
from loadtests.drill.recording import notation
from loadtests.drill.watching import LIGHTS, Light
from tests.operations.rules import ALERTS, DEPLOY


def replayed(recording: Mapping[str, Any], folder: Path) -> str:
    """Check the end of a recording with promtool. Return its complaints, empty if there are none.

    A panel that was red at the last looks must be red at the end, and one that never was must not.
    The same holds for firing alerts.
    """
    rules = sorted(str(path) for path in (DEPLOY / "prometheus" / "rules").glob("*.yml"))
    steps = max(len(values) for values in recording["series"].values())
    at = f"{int((steps - 1) * SCRAPED_EVERY)}s"
    case = {
        "interval": f"{SCRAPED_EVERY:g}s",
        "input_series": [
            {"series": name, "values": notation(values)}
            for name, values in recording["series"].items()
        ],
        "promql_expr_test": [
            _expected(expression, at) for expression in (*_lit(recording), *_alarmed(recording))
        ],
    }
    tests = {"rule_files": rules, "evaluation_interval": "30s", "tests": [case]}
    file = folder / "replay.json"
    file.write_text(json.dumps(tests))  # JSON is valid YAML
    promtool = shutil.which("promtool")
    if promtool is None:
        sys.exit("promtool is missing: make system-deps")
    ended = subprocess.run(
        [promtool, "test", "rules", str(file)], capture_output=True, text=True, check=False
    )
    return "" if ended.returncode == 0 else ended.stdout + ended.stderr


def _expected(expression: str, at: str) -> dict[str, Any]:
    return {
        "expr": expression,
        "eval_time": at,
        "exp_samples": [{"labels": "{}", "value": 1}],
    }


def _alarmed(recording: Mapping[str, Any]) -> Iterator[str]:
    """Expressions that are 1 if the alerts are those of the recording."""
    for alert, severity in sorted({(alert.name, alert.labels["severity"]) for alert in ALERTS}):
        name = f"{alert} ({severity})"
        firing = f'ALERTS{{alertstate="firing", alertname="{alert}", severity="{severity}"}}'
        yield from _as_it_was(recording, name, firing)


def _lit(recording: Mapping[str, Any]) -> Iterator[str]:
    """Expressions that are 1 if the panels are as red as in the recording."""
    for light in LIGHTS:
        is_red = " or ".join(f"({_red(light, each)})" for each in light.expressions)
        yield from _as_it_was(recording, light.title, is_red)


def _as_it_was(recording: Mapping[str, Any], name: str, lit: str) -> Iterator[str]:
    if name in recording["lasting"]:
        yield f"count({lit}) > bool 0"
    elif name not in recording["ever"]:
        yield f"(count({lit}) or vector(0)) + 1"


def _red(light: Light, expression: str) -> str:
    """The values of an expression that are red."""
    if light.steps[0][1] == "red":
        return f"({expression}) < {light.steps[1][0]:g}"
    bound = next(bound for bound, colour in reversed(light.steps) if colour == "red")
    return f"({expression}) >= {bound:g}"
