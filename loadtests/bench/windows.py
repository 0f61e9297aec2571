"""Measures all sides alternately in windows, so that other load on the machine affects all of them.

A window takes all measures before the next one starts. So a noisy neighbour spoils one window of
each measure instead of all windows of one measure.
"""

import os
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from loadtests.bench.forms import Form
from loadtests.bench.measures import Figures, Probe
from loadtests.bench.processes import Server, waited_seconds
from loadtests.bench.sides import NGINX, OBVIOUS, Side

Windows = dict[str, dict[str, list[float]]]
"""A figure for each window, by measure and side."""


@dataclass
class Watch:
    """The maximum load of the client and the stand-in, and the share of the time for which the
    client waited for a core.
    """

    standin: Server
    client_busy: float = 0.0
    standin_busy: float = 0.0
    begun: float = field(default_factory=time.monotonic)

    @contextmanager
    def watching(self) -> Iterator[None]:
        begun, ours, theirs = time.perf_counter(), time.process_time(), self.standin.cpu_seconds
        yield
        seconds = time.perf_counter() - begun
        ours, theirs = time.process_time() - ours, self.standin.cpu_seconds - theirs
        self.client_busy = max(self.client_busy, ours / seconds)
        self.standin_busy = max(self.standin_busy, theirs / seconds)

    @property
    def client_waited(self) -> float:
        return waited_seconds(os.getpid()) / (time.monotonic() - self.begun)

    def tell(self, what: str) -> None:
        """Print a line of progress."""
        minutes, seconds = divmod(int(time.monotonic() - self.begun), 60)
        print(f"{minutes}:{seconds:02} {what}", flush=True)


async def measured(
    probes: Sequence[Probe], sides: Sequence[Side], *, form: Form, watch: Watch
) -> Windows:
    found: Windows = {}
    for number in range(form.windows):
        for probe in probes:
            figures = await _window(probe, _of(probe, sides), number, form=form, watch=watch)
            _note(found, figures)
            watch.tell(f"window {number + 1} of {form.windows}, {probe.title}: {_told(figures)}")
    return found


def _note(found: Windows, figures: dict[str, Figures]) -> None:
    for side, of_side in figures.items():
        for measure, value in of_side.items():
            found.setdefault(measure, {}).setdefault(side, []).append(value)


async def _window(
    probe: Probe, sides: Sequence[Side], number: int, *, form: Form, watch: Watch
) -> dict[str, Figures]:
    """Measure one window: the mean of its slices."""
    taken: dict[str, list[Figures]] = {side.name: [] for side in sides}
    for place in range(form.slices * probe.times):
        for side in in_turn(sides, number + place):
            with watch.watching():
                taken[side.name].append(await probe.take(side, form))
    return {
        side: {measure: statistics.mean(one[measure] for one in slices) for measure in slices[0]}
        for side, slices in taken.items()
    }


def in_turn(sides: Sequence[Side], number: int) -> list[Side]:
    """Alternate the order, so that each side goes first and last equally often."""
    return list(sides) if number % 2 == 0 else list(reversed(sides))


def _of(probe: Probe, sides: Sequence[Side]) -> list[Side]:
    """The sides without the other yardstick."""
    others = {OBVIOUS, NGINX} - {probe.yardstick}
    return [side for side in sides if side.name not in others]


def _told(figures: dict[str, Figures]) -> str:
    return ", ".join(
        f"{side} {' and '.join(f'{value:.3g}' for value in of_side.values())}"
        for side, of_side in figures.items()
    )
