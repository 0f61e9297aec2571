"""A made-up act without faults: one customer asks for the weather, another books a test drive."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from loadtests.chaos.found import Booked, Found, Levels, StoredTurn, Told
from loadtests.chaos.record import Attempt, Reading, Record, Slot
from loadtests.sse import Frame

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SLOT = Slot("london", "2026-03-03", "10:00")
CONFIRMATION = {
    "confirmation_id": "c1",
    "user_id": "u1",
    "dealership_id": SLOT.dealership_id,
    "date": SLOT.date,
    "time": SLOT.time,
}
CALL = {"id": "call_1", "name": "schedule_appointment", "arguments": {}}


def outcome(word: str) -> tuple[str, str]:
    return "outcome", json.dumps({"outcome": word})


def error(code: str) -> tuple[str, str]:
    return "error", json.dumps({"code": code})


SAID = [("chunk", "It is "), ("chunk", "sunny."), outcome("completed"), ("end", "")]
BOOKED = [
    ("tool_call", json.dumps(CALL)),
    ("tool_output", json.dumps({"name": CALL["name"], "id": "call_1", "output": CONFIRMATION})),
    ("chunk", "Booked."),
    outcome("completed"),
    ("end", ""),
]


@dataclass
class MadeUp:
    record: Record
    found: Found

    @property
    def said(self) -> Reading:
        """The resumable turn `t1` of session `s1`."""
        return self.record.readings[0]

    @property
    def booked(self) -> Reading:
        """The plain turn `t2` of session `s2`."""
        return self.record.readings[1]

    def store(self, turn_id: str, **changed: Any) -> None:
        """Change how a turn is stored."""
        at = {"started_at": NOON, "finished_at": NOON + timedelta(seconds=1)}
        given = {"outcome": "completed", "error_code": None, **at, **changed}
        self.found.turns[turn_id] = StoredTurn(**given)

    def remember(self, session_id: str, turn_id: str, told: Told | None) -> None:
        """Change a turn in a session's history, or remove it."""
        self.found.histories[session_id] = {} if told is None else {turn_id: told}

    def lose(self, turn_id: str) -> None:
        self.store(turn_id, outcome="failed", error_code="worker_lost")


def went_well() -> MadeUp:
    record = Record(earlier={"s0"})
    said = record.begin(Reading("t1", "s1", is_resumable=True))
    take(said, SAID)
    take(record.begin(Reading("t2", "s2")), BOOKED)
    record.attempts["u1"] = Attempt("u1", "s2", SLOT, "t2")
    record.keys["s1", "key"].add("t1")
    found = Found(NOON - timedelta(minutes=1), NOON + timedelta(minutes=1))
    made = MadeUp(record, found)
    for turn_id in ("t1", "t2"):
        made.store(turn_id)
    found.histories["s0"] = {}
    made.remember("s1", "t1", Told(1, text="It is sunny."))
    made.remember(
        "s2", "t2", Told(1, "Book.", "Booked.", {"call_1": CALL}, {"call_1": CONFIRMATION})
    )
    found.replays["t1"] = list(SAID)
    found.bookings = [Booked("c1", "u1", SLOT, NOON)]
    found.held.update(s1="", s2="")
    found.before = found.after = Levels(50, 100 * 2**20)
    return made


def take(reading: Reading, events: list[tuple[str, str]]) -> None:
    """Have a reading receive these events, with the ids of a resumable stream."""
    for number, (event, data) in enumerate(events, start=1):
        place = f"{reading.turn_id}-{number}" if reading.is_resumable else None
        reading.take(Frame(event, data, place))
