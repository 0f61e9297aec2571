"""The picture of a drill: each fault is a row, each panel of the Overview a column."""

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from loadtests.drill.outcomes import Drill
from loadtests.drill.watching import LIGHTS

PICTURE = Path(__file__).parents[2] / "docs" / "pictures" / "drill.svg"

CELL, LEFT, TOP, ALERTS = 22, 330, 190, 520
RED, GREEN = "#e02f44", "#d8efd8"


def write(drills: Sequence[Drill]) -> None:
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text("\n".join(_lines(drills)) + "\n")


def _lines(drills: Sequence[Drill]) -> Iterator[str]:
    width = LEFT + CELL * len(LIGHTS) + ALERTS
    height = TOP + CELL * len(drills) + 10
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12">'
    )
    yield "<title>Faults, the panels of the Overview that turn red, and the alerts</title>"
    yield f'<rect width="{width}" height="{height}" fill="white"/>'
    for column, light in enumerate(LIGHTS):
        at = f"translate({LEFT + CELL * column + CELL // 2 + 4} {TOP - 8}) rotate(-60)"
        yield f'<text transform="{at}">{escape(light.title)}</text>'
    for row, drill in enumerate(drills):
        yield from _row(drill, TOP + CELL * row)
    yield "</svg>"


def _row(drill: Drill, y: int) -> Iterator[str]:
    middle = y + CELL - 7
    name = escape(f"{drill.fault}: {drill.strength}")
    yield f'<text x="{LEFT - 8}" y="{middle}" text-anchor="end">{name}</text>'
    for column, light in enumerate(LIGHTS):
        is_red = light.title in drill.seen.red
        yield (
            f'<rect x="{LEFT + CELL * column}" y="{y}" width="{CELL - 2}" height="{CELL - 2}" '
            f'fill="{RED if is_red else GREEN}"/>'
        )
    x = LEFT + CELL * len(LIGHTS) + 8
    yield f'<text x="{x}" y="{middle}">{escape(drill.alerts)}</text>'
