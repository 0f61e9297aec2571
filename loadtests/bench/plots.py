"""The figures of a run as pictures, for people who do not read tables."""

import statistics
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from loadtests.bench.results import TITLES, Results

COLOURS = {
    "stand-in": "#b8bcc4",
    "nginx": "#7c8798",
    "lex": "#c0392b",
    "lex + redis": "#e08e79",
    "obvious": "#d9b44a",
}


def draw(found: Results, folder: Path) -> None:
    """Writes `costs.png` and `times.png`: medians, with least and most as whiskers."""
    mpl.use("Agg")
    _draw(found, folder / "costs.png", ("token_us", "stream_us", "turn_ms", "tool_round_ms"))
    times = ("first_chunk_alone_ms", "first_chunk_busy_ms", "gap_ms")
    _draw(found, folder / "times.png", times)


def _draw(found: Results, path: Path, measures: tuple[str, ...]) -> None:
    figure, axes = plt.subplots(1, len(measures), figsize=(3.6 * len(measures), 3.2))
    for place, measure in zip(axes, measures, strict=True):
        _bars(place, TITLES[measure], found.windows[measure])
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _bars(place: Axes, title: str, windows: dict[str, list[float]]) -> None:
    sides = list(windows)
    medians = [statistics.median(windows[side]) for side in sides]
    below = [middle - min(windows[side]) for side, middle in zip(sides, medians, strict=True)]
    above = [max(windows[side]) - middle for side, middle in zip(sides, medians, strict=True)]
    bars = place.bar(
        sides,
        medians,
        yerr=[below, above],
        capsize=3,
        width=0.6,
        color=[COLOURS[side] for side in sides],
    )
    place.bar_label(bars, fmt="%.3g", padding=3, fontsize=8)
    what, _, unit = title.rpartition(" (")
    place.set_title("\n".join(what.split(", ", 1)), fontsize=9)
    place.set_ylabel(unit.rstrip(")"), fontsize=8)
    place.tick_params(labelsize=8)
    place.spines[["top", "right"]].set_visible(False)
    place.margins(y=0.18)
