"""A run beside the one that is kept."""

import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from loadtests.bench.ratios import Row, figure, spread
from loadtests.bench.results import VERSION, Results
from loadtests.bench.yardsticks import fingerprint


def obstacle(folder: Path) -> str | None:
    """Why a run of today cannot be compared with the one in `folder`."""
    path = folder / "results.json"
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    if not kept:
        return "No results are kept."
    if kept.get("bench") != VERSION:
        return "The kept results were measured by another version of the benchmark."
    if kept["yardsticks"] != (today := fingerprint()):
        return (
            "THE YARDSTICKS HAVE CHANGED since the kept results were measured "
            f"({kept['yardsticks'][:12]}, now {today[:12]}): loadtests/bench/obvious.py or "
            "infrastructure/groq_standin. Undo that, or measure again: make bench KEEP=1"
        )
    return None


def compared(now: Results, folder: Path) -> Iterator[str]:
    """Each ratio beside the kept one; and what else is not as it was."""
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
    """Spreads that overlap are not told apart."""
    if min(now) > max(kept):
        return "MORE"
    if max(now) < min(kept):
        return "LESS"
    return "as before"
