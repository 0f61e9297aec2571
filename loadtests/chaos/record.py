"""The operations that the service has acknowledged, as its clients saw them."""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from loadtests.sse import Frame

Event = tuple[str, str]
"""A name and its data."""

NOT_STORED = "storage_unavailable"
LOST = "worker_lost"


@dataclass(frozen=True)
class Slot:
    dealership_id: str
    date: str
    time: str


@dataclass
class Attempt:
    """A test drive that somebody asked for. Each has a user of its own, so a booking names it."""

    user_id: str
    session_id: str
    slot: Slot
    turn_id: str | None = None
    """Once it is known."""


@dataclass
class Reading:
    """One turn as one client read it, over however many connections that took.

    Events of a resumable turn have ids, `<turn>-<n>` or `<turn>-lost-<n>`, and must follow each
    other. A server that leaves says `error` and `end` under the id that was read last: those
    belong to the connection and not to the turn.
    """

    turn_id: str
    session_id: str
    is_resumable: bool = False
    events: list[Event] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    last_id: str | None = None
    joins: int = 0
    is_gone: bool = False
    """There is nothing more to read, as the service says."""

    @property
    def is_over(self) -> bool:
        return bool(self.events) and self.events[-1][0] == "end"

    @property
    def is_whole(self) -> bool:
        """It was read to the end of the turn, whose outcome was told."""
        return self.is_over and self.told is not None

    @property
    def is_told_lost(self) -> bool:
        return LOST in self.errors

    @property
    def told(self) -> str | None:
        """The outcome, in the stream's word."""
        data = next((data for event, data in self.events if event == "outcome"), None)
        return None if data is None else str(json.loads(data)["outcome"])

    @property
    def errors(self) -> list[str]:
        return [json.loads(data)["code"] for event, data in self.events if event == "error"]

    @property
    def text(self) -> str:
        return "".join(data for event, data in self.events if event == "chunk")

    @property
    def calls(self) -> dict[str, Any]:
        """Tool calls, by their ids."""
        return {call["id"]: call for call in self._objects("tool_call")}

    @property
    def outputs(self) -> dict[str, Any]:
        """What came of them, by the same ids."""
        return {told["id"]: told["output"] for told in self._objects("tool_output")}

    def _objects(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(data) for event, data in self.events if event == name]

    def take(self, frame: Frame) -> None:
        """The next frame of the connection at hand."""
        if frame.is_heartbeat:
            return
        is_closing_notice = self.is_resumable and frame.id == self.last_id
        if self.is_over and not is_closing_notice:
            self.problems.append(f"{frame.event or 'a frame'} came behind its end")
        elif not self.is_resumable:
            self.events.append((frame.event, frame.data))
        else:
            self._take_placed(frame)

    def _take_placed(self, frame: Frame) -> None:
        begin = self.last_id or f"{self.turn_id}-0"
        if not frame.event:
            if frame.id != begin:
                self.problems.append(f"it opened at {frame.id} instead of {begin}")
        elif frame.id == begin and frame.event in ("error", "end"):
            pass  # the server leaves, and the turn goes on elsewhere
        else:
            self._append(frame, expected={_next(begin), f"{self.turn_id}-lost-1"})

    def _append(self, frame: Frame, *, expected: set[str]) -> None:
        if frame.id not in expected:
            self.problems.append(f"{frame.event} {frame.id} came behind {self.last_id}")
        self.events.append((frame.event, frame.data))
        self.last_id = frame.id


def _next(place: str) -> str:
    before, _, number = place.rpartition("-")
    return f"{before}-{int(number) + 1}"


@dataclass
class Record:
    """Everything that was acknowledged in one act."""

    sessions: set[str] = field(default_factory=set)
    earlier: set[str] = field(default_factory=set)
    """Sessions of the acts before, which must still be there."""
    stuck: set[str] = field(default_factory=set)
    """Turns that were left running by acts before, and were told then."""
    readings: list[Reading] = field(default_factory=list)
    attempts: dict[str, Attempt] = field(default_factory=dict)
    """By user."""
    keys: dict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    """The turns that one `Idempotency-Key` of a session led to."""
    asked: Counter[str] = field(default_factory=Counter)
    """Questions, by the kind of their client."""
    refused: Counter[str] = field(default_factory=Counter)
    """Refusals, by their code."""
    broken: int = 0
    """Connections that came to no end of their own."""

    @property
    def turns(self) -> set[str]:
        return {reading.turn_id for reading in self.readings}

    @property
    def places(self) -> set[str]:
        """Sessions that were made, or may have been: an answer to a booking never came."""
        return self.sessions | {attempt.session_id for attempt in self.attempts.values()}

    def begin(self, reading: Reading) -> Reading:
        self.sessions.add(reading.session_id)
        self.readings.append(reading)
        return reading
