"""Reads the dashboards."""

import json
from pathlib import Path
from typing import Any

from tests.operations.rules import DEPLOY

PATHS = sorted((DEPLOY / "dashboards" / "json").glob("*.json"))


def _read(path: Path) -> dict[str, Any]:
    board: dict[str, Any] = json.loads(path.read_text())
    return board


BOARDS = [_read(path) for path in PATHS]


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    """The panels of a dashboard without its row titles."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def expressions(board: dict[str, Any]) -> list[str]:
    return [target["expr"] for panel in panels(board) for target in panel["targets"]]


def _heat_maps() -> list[str]:
    found = [panel for board in BOARDS for panel in panels(board) if panel["type"] == "heatmap"]
    return [target["expr"] for panel in found for target in panel["targets"]]


HEAT_MAPS = _heat_maps()
"""The expressions of panels that show single observations."""


def as_asked(expression: str, *, namespace: str, job: str, interval: str) -> str:
    """The expression as Grafana sends it for these choices and all pods."""
    chosen = {
        "$__rate_interval": interval,
        "$namespace": namespace,
        "$job": job,
        "$pod": ".*",
    }
    for name, value in chosen.items():
        expression = expression.replace(name, value)
    assert "$" not in expression, expression
    return expression
