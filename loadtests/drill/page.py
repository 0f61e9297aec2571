"""What the drills saw: a table for people, in the terminal and in `docs/observability.md`."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from loadtests.drill.outcomes import Drill

PAGE = Path(__file__).parents[2] / "docs" / "observability.md"

FROM, TO = "<!-- The drill writes from here. -->", "<!-- To here. -->"

WITH_ALERTS = {"Firing alerts", "Error budget burn rate"}
"""Panels that are red because alerts fire. The table has the alerts themselves."""


def table(drills: Sequence[Drill]) -> Iterator[str]:
    yield "| fault | strength | red on the Overview | alerts, after minutes |"
    yield "|---|---|---|---|"
    for drill in drills:
        yield f"| {drill.fault} | {drill.strength} | {panels(drill)} | {drill.alerts} |"


def panels(drill: Drill) -> str:
    """The red panels, without those that only repeat the alerts."""
    if drill.alerts == "none":
        return drill.panels
    titles = drill.panels.split(", ")
    return ", ".join(title for title in titles if title not in WITH_ALERTS) or "nothing else"


def write(drills: Sequence[Drill]) -> None:
    """Write the table into the documents, between its two marks."""
    text = PAGE.read_text()
    before, _, rest = text.partition(FROM)
    _, _, after = rest.partition(TO)
    PAGE.write_text(f"{before}{FROM}\n\n" + "\n".join(table(drills)) + f"\n\n{TO}{after}")
