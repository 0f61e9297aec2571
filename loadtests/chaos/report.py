"""The report of a run: its progress, its counts, and each violation."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from loadtests.chaos.checks import Verdict, judge
from loadtests.chaos.found import Found, StoredTurn
from loadtests.chaos.plan import Fault
from loadtests.chaos.record import Record

SHOWN = 10
"""Number of violations that are printed for a check. The rest are counted."""


@dataclass
class Report:
    began: float = field(default_factory=time.monotonic)
    faults: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    turns: int = 0
    sessions: int = 0
    events: int = 0
    joins: int = 0
    broken: int = 0
    bookings: int = 0
    verdicts: dict[str, Verdict] = field(default_factory=dict)

    def say(self, what: str) -> None:
        print(f"{time.monotonic() - self.began:6.0f} s  {what}", flush=True)

    def begin(self, fault: Fault) -> None:
        self.faults[fault.kind] += 1
        self.say(f"  {fault}")

    def add(self, record: Record, found: Found) -> None:
        """Count one act, and run the checks."""
        self.asked += record.asked
        self.refused += record.refused
        self.outcomes.update(map(_ending_of, (found.turns.get(turn) for turn in record.turns)))
        self.turns += len(record.turns)
        self.sessions += len(record.sessions)
        self.events += sum(len(reading.events) for reading in record.readings)
        self.joins += sum(reading.joins for reading in record.readings)
        self.broken += record.broken
        self.bookings += len(found.bookings)
        judge(record, found, self.verdicts)

    @property
    def violations(self) -> int:
        return sum(len(verdict.violations) for verdict in self.verdicts.values())

    @property
    def is_good(self) -> bool:
        """A run without turns proves nothing."""
        return bool(self.turns) and not self.violations

    def lines(self) -> Iterator[str]:
        yield f"{self.turns} turns in {self.sessions} sessions, {self.events} events"
        yield f"{self.joins} resumes, {self.broken} broken connections"
        yield f"{self.bookings} test drives booked"
        yield f"questions: {_counted(self.asked)}"
        yield f"outcomes:  {_counted(self.outcomes)}"
        yield f"refusals:  {_counted(self.refused)}"
        yield f"faults:    {_counted(self.faults)}"
        yield ""
        for name, verdict in self.verdicts.items():
            count = len(verdict.violations)
            told = f"{count} VIOLATIONS" if count else "good"
            yield f"{name:<34} {verdict.looked_at:>7} checked   {told}"
        for name, verdict in self.verdicts.items():
            yield from _violations(name, verdict)


def _ending_of(turn: StoredTurn | None) -> str:
    if turn is None:
        return "vanished"
    outcome = turn.outcome or "running"
    return f"{outcome} ({turn.error_code})" if turn.error_code else outcome


def _counted(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{count} {name}" for name, count in ordered) or "none"


def _violations(name: str, verdict: Verdict) -> Iterator[str]:
    if verdict.violations:
        yield ""
        yield f"{name}:"
        yield from (f"  {each}" for each in verdict.violations[:SHOWN])
        if len(verdict.violations) > SHOWN:
            yield f"  … and {len(verdict.violations) - SHOWN} more"
