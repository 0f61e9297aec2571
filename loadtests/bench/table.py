"""Rows as a table: aligned for a terminal, or in Markdown."""

import statistics
from collections.abc import Iterable, Iterator, Sequence

from loadtests.bench.ratios import Row, figure, spread
from loadtests.bench.sides import NGINX, OBVIOUS

HEAD = ("", "Lex with", "ratio (least … most)", "divided by", "target", "", "figures")

YARDSTICKS = {OBVIOUS: "the obvious service's", NGINX: "nginx's"}


def aligned(rows: Iterable[Row]) -> Iterator[str]:
    cells = [HEAD, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        yield "  ".join(
            cell.ljust(width) for cell, width in zip(line, widths, strict=True)
        ).rstrip()


def markdown(rows: Iterable[Row]) -> Iterator[str]:
    yield _piped(HEAD)
    yield "|---|---|--:|---|--:|---|--:|"
    for row in rows:
        *ratio, figures = _cells(row)
        yield _piped((*ratio, f"<sub>{figures}</sub>"))


def _piped(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(row: Row) -> tuple[str, ...]:
    line = row.line
    turn = " turn" if line.by != line.measure else ""
    ours, theirs = (statistics.median(of) for of in (row.figures, row.yardstick_figures))
    return (
        line.title,
        row.store,
        spread(row.ratios),
        f"{YARDSTICKS[line.yardstick]}{turn}",
        _target(row),
        _verdict(row),
        f"{figure(ours)} / {figure(theirs)} {line.unit}",
    )


def _target(row: Row) -> str:
    target = row.line.target
    if target is None:
        return ""
    unit = f" {row.line.unit}" if target.of_figure else ""
    return f"{'≥' if target.is_least else '≤'} {target.bound:g}{unit}"


def _verdict(row: Row) -> str:
    if row.line.target is None:
        return ""
    return "reached" if row.is_reached else "missed"
