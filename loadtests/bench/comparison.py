"""Compares a run with the kept results."""

import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from loadtests.bench.ratios import Row, figure, spread
from loadtests.bench.results import VERSION, Results
from loadtests.bench.yardsticks import fingerprint


def obstacle(folder: Path) -> str | None:
    """The reason why a run cannot be compared with the results in `folder`, or None."""
    path = folder / "results.json"
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    if not kept:
        return "There are no kept results: make bench KEEP=1 writes them."
    if kept.get("bench") != VERSION:
        return "The kept results are from another version of the benchmark: run make bench KEEP=1."
    if kept["yardsticks"] != (today := fingerprint()):
        return (
            "THE YARDSTICKS HAVE CHANGED since the kept results were measured "
            f"({kept['yardsticks'][:12]}, now {today[:12]}): loadtests/bench/obvious.py or "
            "infrastructure/groq_standin. Revert the change, or run make bench KEEP=1."
        )
    return None


def compared(now: Results, folder: Path) -> Iterator[str]:
    """One line for each ratio beside the kept one, and for each library with another version."""
    kept = Results.load(folder)
    before = {(row.line.measure, row.side): row for row in kept.rows}
    for row in now.rows:
        if earlier := before.get((row.line.measure, row.side)):
            yield _compared(row, earlier)
    for library, version in now.machine.items():
        if library in kept.machine and kept.machine[library] != version:
            yield f"{library} was {kept.machine[library]} and is {version}."


def _compared(now: Row, kept: Row) -> str:
    median = figure(statistics.median(now.ratios))
    change = moved(now.ratios, kept.ratios)
    return f"{now}: {median}, kept {spread(kept.ratios)}: {change}"


def moved(now: list[float], kept: list[float]) -> str:
    """Compare two spreads. Spreads that overlap count as equal."""
    if min(now) > max(kept):
        return "MORE"
    if max(now) < min(kept):
        return "LESS"
    return "as before"
