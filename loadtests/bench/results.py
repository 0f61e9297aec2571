"""The figures of a run: kept, told as a table, held against targets and against earlier ones."""

import json
import os
import platform
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from loadtests.bench.holding import Held

KEPT = Path(__file__).parent.parent / "results"
"""What RESULTS.md tells of."""

LIBRARIES = ("fastapi", "uvicorn", "sse-starlette", "groq", "aiohttp", "sqlalchemy", "uvloop")

TITLES = {
    "token_us": "CPU a token, slope (µs)",
    "stream_us": "CPU a token of a whole stream of 100 (µs)",
    "turn_ms": "CPU of a turn of one word (ms)",
    "tool_round_ms": "CPU of such a turn with one tool round (ms)",
    "first_chunk_alone_ms": "first chunk, one stream at a time, p50 (ms)",
    "first_chunk_busy_ms": "first chunk, 50 starts a second, p99 (ms)",
    "gap_ms": "gap between chunks, 100 streams, p99 (ms)",
}

Windows = dict[str, list[float]]


@dataclass(frozen=True)
class Results:
    windows: dict[str, Windows]
    """By measure and side."""
    held: Held
    failures: dict[str, int]
    client_busy: float
    standin_busy: float

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        told = {"machine": machine(), **asdict(self)}
        (folder / "results.json").write_text(json.dumps(told, indent=1) + "\n")
        (folder / "table.md").write_text("\n".join(self.table()) + "\n")

    @classmethod
    def load(cls, folder: Path) -> "Results":
        told = json.loads((folder / "results.json").read_text())
        del told["machine"]
        return cls(**{**told, "held": Held(**told["held"])})

    def table(self) -> Iterator[str]:
        sides = list(dict.fromkeys(side for measure in self.windows.values() for side in measure))
        yield f"| median (least … most of {self._times} windows) | {' | '.join(sides)} |"
        yield "|---|" + "--:|" * len(sides)
        for measure, windows in self.windows.items():
            cells = [spread(windows[side]) if side in windows else "" for side in sides]
            yield f"| {TITLES[measure]} | {' | '.join(cells)} |"

    @property
    def _times(self) -> int:
        return max(len(window) for measure in self.windows.values() for window in measure.values())

    def targets(self) -> Iterator["Target"]:
        for side in ("lex", "lex + redis"):
            yield self._target(side, "CPU a token, by nginx'", self._ratios("token_us", side), 1.5)
            yield self._target(side, "CPU of a turn, ms", self.windows["turn_ms"][side], 6)
            rounds = self._added("tool_round_ms", side, "turn_ms", side)
            yield self._target(side, "CPU of a tool round, ms", rounds, 4)
            for measure, most in (
                ("first_chunk_alone_ms", 5),
                ("first_chunk_busy_ms", 25),
                ("gap_ms", 35),
            ):
                added = self._added(measure, side, measure, "stand-in")
                yield self._target(side, f"added: {TITLES[measure]}", added, most)
            yield Target(side, "streams that failed", [self.failures[side]], 0)
        held = self.held
        yield Target("lex", f"memory of each of {held.streams} streams, kB", [held.stream_kb], 80)
        yield Target("lex", "of those failed", [held.failed], 0)
        yield Target("lex", "1,000 streams at 5 a second: late, p99, ms", [held.late_p99_ms], 100)

    def _target(self, side: str, what: str, values: Sequence[float], most: float) -> "Target":
        return Target(side, what, list(values), most)

    def _ratios(self, measure: str, side: str) -> list[float]:
        windows = self.windows[measure]
        return [ours / nginx for ours, nginx in zip(windows[side], windows["nginx"], strict=True)]

    def _added(self, measure: str, side: str, to: str, base: str) -> list[float]:
        ours, theirs = self.windows[measure][side], self.windows[to][base]
        return [one - other for one, other in zip(ours, theirs, strict=True)]


@dataclass(frozen=True)
class Target:
    side: str
    what: str
    windows: list[float]
    most: float

    @property
    def is_reached(self) -> bool:
        return statistics.median(self.windows) <= self.most

    def __str__(self) -> str:
        verdict = "reached" if self.is_reached else "MISSED"
        return f"| {self.side} | {self.what} | {spread(self.windows)} | {self.most:g} | {verdict} |"


def compared(now: Results, kept: Results) -> Iterator[str]:
    """Each median by the one that is kept; those of nginx tell how fast this machine is today."""
    for measure, windows in now.windows.items():
        before = kept.windows.get(measure, {})
        ratios = [
            f"{side} {statistics.median(values) / statistics.median(before[side]):.2f}"
            for side, values in windows.items()
            if side in before
        ]
        yield f"{TITLES[measure]}: {', '.join(ratios)}"


def machine() -> dict[str, str]:
    cpu = Path("/proc/cpuinfo").read_text()
    name = cpu.partition("model name")[2].partition("\n")[0].lstrip("\t: ")
    return {
        "cpu": f"{os.cpu_count()} cores, {name}",
        "system": f"Linux {platform.release()}",
        "python": platform.python_version(),
        **{library: version(library) for library in LIBRARIES},
    }


def spread(values: Sequence[float]) -> str:
    middle = _figure(statistics.median(values))
    if len(values) == 1:
        return middle
    return f"{middle} ({_figure(min(values))} … {_figure(max(values))})"


def _figure(value: float) -> str:
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f}"
