"""The results of a run, with the version of the benchmark and the machine."""

import json
import os
import platform
import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

from loadtests.bench.ratios import Row, rows
from loadtests.bench.windows import Windows
from loadtests.bench.yardsticks import fingerprint

VERSION = 2
"""Version of the benchmark. Version 1 measured milliseconds, valid on one machine only."""

KEPT = Path(__file__).parent.parent / "results"

LIBRARIES = ("fastapi", "uvicorn", "sse-starlette", "groq", "aiohttp", "sqlalchemy", "uvloop")

MOST_BUSY = 0.75
"""Share of a core above which the client or the stand-in may be the bottleneck."""

MOST_WAITED = 0.05
CROWDED = "The machine was crowded: first chunks and turns a second are only a hint."


def machine() -> dict[str, str]:
    cpu = Path("/proc/cpuinfo").read_text()
    name = cpu.partition("model name")[2].partition("\n")[0].lstrip("\t: ")
    return {
        "cpu": f"{os.cpu_count()} cores, {name}",
        "system": f"Linux {platform.release()}",
        "python": platform.python_version(),
        **{library: version(library) for library in LIBRARIES},
    }


@dataclass(frozen=True)
class Results:
    form: str
    windows: Windows
    failures: dict[str, int]
    """Number of failed streams, by side."""
    client_busy: float
    standin_busy: float
    client_waited: float
    """Share of the time for which the client waited for a core: how crowded the machine was."""
    bench: int = VERSION
    yardsticks: str = field(default_factory=fingerprint)
    machine: dict[str, str] = field(default_factory=machine)

    @property
    def rows(self) -> list[Row]:
        return list(rows(self.windows))

    @property
    def busy(self) -> str:
        told = (
            f"At its busiest the client took {self.client_busy:.0%} of a core and the stand-in "
            f"{self.standin_busy:.0%}; the client waited for a core {self.client_waited:.0%} of "
            "the time."
        )
        return f"{told} {CROWDED}" if self.client_waited > MOST_WAITED else told

    @property
    def is_good(self) -> bool:
        return all(row.is_reached for row in self.rows) and not any(self.faults())

    def faults(self) -> Iterator[str]:
        """The reasons why this run is invalid."""
        for side, failed in self.failures.items():
            if failed:
                yield f"{failed} streams failed on the side {side}."
        for row in self.rows:
            if statistics.median(row.figures) <= 0:
                yield f"{row}: below zero, so it is noise."
        for name, busy in (("client", self.client_busy), ("stand-in", self.standin_busy)):
            if busy > MOST_BUSY:
                yield f"The {name} took {busy:.0%} of a core: it may have been the bottleneck."

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "results.json").write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> "Results":
        return cls(**json.loads((folder / "results.json").read_text()))
