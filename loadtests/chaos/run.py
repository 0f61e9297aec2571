"""A run: a calm act as a reference, then acts of faults under load, each followed by the checks."""

import asyncio
import random
from dataclasses import dataclass, field
from pathlib import Path

from loadtests.chaos.asking import Crowd
from loadtests.chaos.clients import crowding
from loadtests.chaos.faults import FAULTS
from loadtests.chaos.finding import find
from loadtests.chaos.found import Found
from loadtests.chaos.plan import Act, acts
from loadtests.chaos.questions import Slots
from loadtests.chaos.record import Record
from loadtests.chaos.report import Report
from loadtests.chaos.stage import Stage, set_up

CALM_SECONDS = 8.0
LEAD_SECONDS = 4.0
"""Time before the first fault of an act, in which clients start."""


@dataclass
class Run:
    seed: str
    minutes: float
    clients: int
    has_pooler: bool = False
    has_cluster: bool = False
    """Whether the workers share a cluster of Redis."""
    report: Report = field(default_factory=Report)
    slots: Slots = field(init=False)
    sessions: set[str] = field(default_factory=set)
    """Sessions of all acts so far."""
    stuck: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.slots = Slots(random.Random(f"{self.seed} slots"))

    async def go(self, folder: Path) -> None:
        planned = acts(self.seed, self.minutes)
        self.report.say(f"SEED={self.seed}: {sum(map(len, planned))} faults, {len(planned)} acts")
        async with set_up(
            folder, has_pooler=self.has_pooler, has_cluster=self.has_cluster
        ) as stage:
            self.report.say("all servers are up; first a calm act")
            record = Record()
            self._check(record, await self._act(stage, (), record))
            before = stage.levels
            for number, act in enumerate(planned, start=1):
                self.report.say(f"act {number} of {len(planned)}")
                record = Record(earlier=set(self.sessions), stuck=set(self.stuck))
                found = await self._act(stage, act, record)
                if number == len(planned):
                    found.before, found.after = before, stage.levels
                self._check(record, found)

    async def _act(self, stage: Stage, act: Act, record: Record) -> Found:
        halts = len(stage.halts)
        began_at = await stage.postgres.now()
        crowd = Crowd(stage, record, self.slots)
        async with crowding(crowd, self.clients, f"{self.seed} {len(self.sessions)}"):
            await asyncio.sleep(LEAD_SECONDS if act else CALM_SECONDS)
            for fault in act:
                await stage.until_ready()
                self.report.begin(fault)
                await FAULTS[fault.kind](crowd, fault)
                await asyncio.sleep(fault.pause_seconds)
            await stage.until_ready()
        await stage.until_ready()
        self.sessions |= record.sessions
        found = await find(stage, record, began_at)
        found.halts = stage.halts[halts:]
        self.stuck.update(found.running_turns)
        return found

    def _check(self, record: Record, found: Found) -> None:
        before = self.report.violations
        self.report.add(record, found)
        count = self.report.violations - before
        self.report.say(f"  {len(record.turns)} turns checked, {count} violations")
