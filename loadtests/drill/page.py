"""What the drills saw: a table for people, in the terminal and in `docs/observability.md`."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loadtests.drill.faults import Happens
from loadtests.drill.watching import Seen

PAGE = Path(__file__).parents[2] / "docs" / "observability.md"

FROM, TO = "<!-- The drill writes from here. -->", "<!-- To here. -->"


@dataclass
class Drill:
    """One fault at one strength; without `happens`, nothing is at fault."""

    fault: str
    strength: str
    happens: Happens | None
    seen: Seen = field(default_factory=Seen)
    told: dict[str, int] = field(default_factory=dict)

    @property
    def slug(self) -> str:
        return re.sub(r"[^a-z0-9]+", "-", f"{self.fault} {self.strength}".casefold()).strip("-")

    @property
    def problems(self) -> list[str]:
        """Why the drill failed: a fault that no panel shows, or a light without a fault."""
        if self.happens is None:
            return [*self.seen.red, *self.seen.firing]
        return [] if self.seen.red else ["nothing is red"]

    @property
    def said(self) -> str:
        told = ", ".join(f"{number} {what}" for what, number in sorted(self.told.items()))
        return f"{self.fault}, {self.strength} ({told}): {_cells(self)[2]}; {_cells(self)[3]}"


def table(drills: Sequence[Drill]) -> Iterator[str]:
    yield "| fault | strength | red on the Overview | alerts, after minutes |"
    yield "|---|---|---|---|"
    for drill in drills:
        yield f"| {' | '.join(_cells(drill))} |"


def _cells(drill: Drill) -> tuple[str, str, str, str]:
    red = ", ".join(sorted(drill.seen.red, key=lambda title: drill.seen.red[title]))
    firing = ", ".join(
        f"{name.partition(' ')[0]} {minute:.0f}"
        for name, minute in sorted(drill.seen.firing.items(), key=lambda each: each[1])
    )
    return drill.fault, drill.strength, red or "nothing", firing or "none"


def write(drills: Sequence[Drill]) -> None:
    """Write the table into the documents, between its two marks."""
    text = PAGE.read_text()
    before, _, rest = text.partition(FROM)
    _, _, after = rest.partition(TO)
    PAGE.write_text(f"{before}{FROM}\n\n" + "\n".join(table(drills)) + f"\n\n{TO}{after}")
