"""The result of one drill."""

import re
from dataclasses import dataclass, field

from loadtests.drill.faults import Happens
from loadtests.drill.watching import Seen


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
    def panels(self) -> str:
        """The red panels in the order in which they became red."""
        return ", ".join(sorted(self.seen.red, key=lambda title: self.seen.red[title])) or "nothing"

    @property
    def alerts(self) -> str:
        """The alerts with the minutes until they first fired."""
        first: dict[str, float] = {}
        for name, minute in self.seen.firing.items():
            alert = name.partition(" ")[0]
            first[alert] = min(minute, first.get(alert, minute))
        ordered = sorted(first.items(), key=lambda each: each[1])
        return ", ".join(f"{alert} {minute:.0f}" for alert, minute in ordered) or "none"

    @property
    def said(self) -> str:
        told = ", ".join(f"{number} {what}" for what, number in sorted(self.told.items()))
        return f"{self.fault}, {self.strength} ({told}): {self.panels}; {self.alerts}"
