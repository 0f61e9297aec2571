"""The ratios of a run to its yardsticks, and whether they reach their targets.

Both are measured on the same machine in the same minutes, so a ratio describes Lex. A figure in
milliseconds describes the machine.
"""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from loadtests.bench.sides import NGINX, OBVIOUS
from loadtests.bench.windows import Windows

STORE_NAMES = {"sqlite": "SQLite", "redis": "SQLite, Redis", "postgres": "Postgres"}


@dataclass(frozen=True)
class Target:
    """A bound of the ratio, or with `of_figure` of the figure: the maximum, or with `is_least` the
    minimum.
    """

    bound: float
    is_least: bool = False
    of_figure: bool = False


@dataclass(frozen=True)
class Line:
    """A measure, and the measure of the yardstick that divides it."""

    measure: str
    title: str
    unit: str
    yardstick: str
    by: str
    """The yardstick's measure."""
    target: Target | None = None

    def row(self, side: str, windows: Windows) -> "Row":
        return Row(self, side, windows[self.measure][side], windows[self.by][self.yardstick])


LINES = (
    Line("turn", "CPU of a turn", "ms", OBVIOUS, "turn", Target(1)),
    # The obvious service has no tools. A tool round is one more completion and little else, like
    # a turn of the obvious service.
    Line("tool round", "CPU of a tool round", "ms", OBVIOUS, "turn", Target(0.4)),
    Line("token", "CPU of a token", "µs", NGINX, "token", Target(1.5)),
    Line("first chunk", "time to the first chunk", "ms", OBVIOUS, "first chunk", Target(1.2)),
    Line("starts", "turns a second", "/s", OBVIOUS, "starts", Target(1.2, is_least=True)),
    Line("stream", "CPU of 100 tokens", "ms", OBVIOUS, "stream"),
    Line("memory", "memory of an open stream", "kB", OBVIOUS, "memory", Target(60, of_figure=True)),
)
"""The obvious service has no store, no limits and no telemetry, and Lex has all of them. So 1 means
that they cost no more than the layers that Lex leaves out.
"""


@dataclass(frozen=True)
class Row:
    """A line of one side, with its figures of all windows."""

    line: Line
    side: str
    figures: Sequence[float]
    yardstick_figures: Sequence[float]

    @property
    def store(self) -> str:
        return STORE_NAMES.get(self.side, self.side)

    def __str__(self) -> str:
        return f"{self.line.title}, {self.store}"

    @property
    def ratios(self) -> list[float]:
        pairs = zip(self.figures, self.yardstick_figures, strict=True)
        return [ours / theirs for ours, theirs in pairs]

    @property
    def is_reached(self) -> bool:
        target = self.line.target
        if target is None:
            return True
        reached = statistics.median(self.figures if target.of_figure else self.ratios)
        return reached >= target.bound if target.is_least else reached <= target.bound


def rows(windows: Windows, lines: Sequence[Line] = LINES) -> Iterator[Row]:
    """Rows of all measures that have a yardstick."""
    for line in lines:
        for side in windows.get(line.measure, {}):
            if side != line.yardstick:
                yield line.row(side, windows)


def spread(values: Sequence[float]) -> str:
    """The median with the least and the most."""
    middle = figure(statistics.median(values))
    if len(values) == 1:
        return middle
    return f"{middle} ({figure(min(values))} … {figure(max(values))})"


def figure(value: float) -> str:
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f}"
