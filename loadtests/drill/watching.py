"""Looks at the Overview and at the alerts, as an operator would."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from loadtests.drill.compressed import COMPRESSION, compressed
from loadtests.drill.stage import JOB, NAMESPACE, Stage
from tests.operations.boards import BOARDS, as_asked, panels
from tests.operations.expressions import names, parse
from tests.operations.rules import RULES
from tests.prometheus import Prometheus

LOOKS_EVERY_SECONDS = 1.0

LAST_LOOKS = 3

RATE_INTERVAL = "2m"
"""Replaces Grafana's `$__rate_interval`: eight scrapes."""

PENDING = "pending"
"""The state of an alert whose `for:` is not over."""


@dataclass(frozen=True)
class Light:
    """A panel with red values. It is red while an expression has a red value."""

    title: str
    expressions: tuple[str, ...]
    """As the dashboard has them for this service, with the windows of a real Prometheus."""
    steps: tuple[tuple[float, str], ...]
    """The lower bounds and the colours from them on, in ascending order."""

    def is_red(self, value: float) -> bool:
        colour = ""
        for bound, step in self.steps:
            if value >= bound:
                colour = step
        return colour == "red"


def _lights() -> Iterator[Light]:
    [overview] = [board for board in BOARDS if board["uid"] == "lex-overview"]
    for panel in panels(overview):
        steps = tuple(_steps(panel))
        if any(colour == "red" for _, colour in steps):
            asked = (
                as_asked(target["expr"], namespace=NAMESPACE, job=JOB, interval=RATE_INTERVAL)
                for target in panel["targets"]
            )
            yield Light(panel["title"], tuple(asked), steps)


def _steps(panel: dict[str, Any]) -> Iterator[tuple[float, str]]:
    defaults = panel.get("fieldConfig", {}).get("defaults", {})
    for mapping in defaults.get("mappings", ()):  # a panel of states
        for number, (value, state) in enumerate(sorted(mapping["options"].items())):
            yield (float(value) if number else float("-inf")), state["color"]
    for step in defaults.get("thresholds", {}).get("steps", ()):
        bound = step.get("value")
        yield (float("-inf") if bound is None else bound), step["color"]


LIGHTS = tuple(_lights())


def read_series() -> frozenset[str]:
    """The names of the scraped series that the lights and all rules read."""
    asked = [each for light in LIGHTS for each in light.expressions]
    asked += [rule.expression for rule in RULES]
    return frozenset(name for each in asked for name in names(parse(each)) if ":" not in name)


@dataclass
class Seen:
    """What became red, and which alerts fired, by minutes of Prometheus' time since the start."""

    red: dict[str, float] = field(default_factory=dict)
    firing: dict[str, float] = field(default_factory=dict)
    alarming: set[str] = field(default_factory=set)
    """The alerts that fired or were about to."""
    looks: list[frozenset[str]] = field(default_factory=list)
    """The panels that were red and the alerts that fired at each look."""

    @property
    def lasting(self) -> frozenset[str]:
        """The panels that were red and the alerts that fired at each of the last looks."""
        return frozenset.intersection(*self.looks[-LAST_LOOKS:])


async def watch(stage: Stage, *, minutes: float) -> Seen:
    """Look again and again, for these minutes of Prometheus' time."""
    seen, begun = Seen(), time.monotonic()
    with suppress(TimeoutError):
        async with asyncio.timeout(minutes * 60 / COMPRESSION):
            while True:
                await _look(stage.prometheus, seen, (time.monotonic() - begun) * COMPRESSION / 60)
                await asyncio.sleep(LOOKS_EVERY_SECONDS)
    return seen


async def _look(prometheus: Prometheus, seen: Seen, minute: float) -> None:
    now: set[str] = set()
    for light in LIGHTS:
        values = [
            value
            for expression in light.expressions
            for value in await prometheus.values(compressed(expression))
        ]
        if any(map(light.is_red, values)):
            seen.red.setdefault(light.title, minute)
            now.add(light.title)
    for labels, _ in await prometheus.labelled("ALERTS"):
        name = f"{labels['alertname']} ({labels.get('severity', '?')})"
        seen.alarming.add(name)
        if labels["alertstate"] == PENDING:
            continue
        seen.firing.setdefault(name, minute)
        now.add(name)
    seen.looks.append(frozenset(now))
