"""Keeps the series of a drill, so that a test can replay them without it.

The values are those that Prometheus scraped; the replay gives them the interval of Prometheus'
time.
"""

import gzip
import json
import math
from pathlib import Path
from typing import Any

from loadtests.drill.compressed import COMPRESSION, SCRAPED_EVERY
from loadtests.drill.stage import JOB
from loadtests.drill.watching import read_series
from tests.prometheus import Prometheus

RECORDINGS = Path(__file__).parent / "recordings"


async def recorded(prometheus: Prometheus, *, begun: float, ended: float) -> dict[str, list[float]]:
    """The values of all series that somebody reads between two Unix times, by name with labels."""
    read = "|".join(sorted(read_series()))
    series = f'{{job="{JOB}", __name__=~"{read}"}}'
    step = SCRAPED_EVERY / COMPRESSION
    found = await prometheus.ranges(series, begun=begun, ended=ended, step=step)
    steps = math.floor((ended - begun) / step) + 1
    return {
        _name(labels): _filled(values, begun=begun, step=step, steps=steps)
        for labels, values in found
    }


def _name(labels: dict[str, str]) -> str:
    rest = {name: value for name, value in sorted(labels.items()) if name != "__name__"}
    inside = ",".join(f"{name}={json.dumps(value)}" for name, value in rest.items())
    return f"{labels['__name__']}{{{inside}}}"


def _filled(
    values: list[tuple[float, float]], *, begun: float, step: float, steps: int
) -> list[float]:
    """One value for each step; NaN where the series had none."""
    filled = [math.nan] * steps
    for at, value in values:
        filled[round((at - begun) / step)] = value
    return filled


def keep(name: str, recording: dict[str, Any], into: Path = RECORDINGS) -> None:
    into.mkdir(exist_ok=True)
    text = json.dumps(recording, sort_keys=True)
    # Without a time of its own, so that the same recording is the same file.
    (into / f"{name}.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


def kept(path: Path) -> dict[str, Any]:
    recording: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    return recording


def notation(values: list[float]) -> str:
    """The values in the notation of promtool's `input_series`, repeated ones as one entry."""
    runs: list[tuple[float, int]] = []
    for value in values:
        if runs and (runs[-1][0] == value or (math.isnan(value) and math.isnan(runs[-1][0]))):
            runs[-1] = (value, runs[-1][1] + 1)
        else:
            runs.append((value, 1))
    return " ".join(
        ("_" if math.isnan(value) else f"{value:.9g}") + (f"x{times - 1}" if times > 1 else "")
        for value, times in runs
    )
