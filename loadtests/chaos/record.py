"""The operations that the service acknowledged, as its clients saw them."""

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
    """A requested test drive. Each has a separate user, so a booking identifies it."""

    user_id: str
    session_id: str
    slot: Slot
    turn_id: str | None = None
    """None until it is known."""


@dataclass
class Reading:
    """One turn as one client read it, over any number of connections.

    Events of a resumable turn have consecutive ids, `<turn>-<n>` or `<turn>-lost-<n>`. A draining
    server sends `error` and `end` with the id that was read last. They belong to the connection,
    not to the turn.
    """

    turn_id: str
    session_id: str
    is_resumable: bool = False
    events: list[Event] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    last_id: str | None = None
    joins: int = 0
    is_gone: bool = False
    """The service says that there is nothing more to read."""

    @property
    def is_over(self) -> bool:
        return bool(self.events) and self.events[-1][0] == "end"

    @property
    def is_whole(self) -> bool:
        """The client read the turn to its end, with its outcome."""
        return self.is_over and self.told is not None

    @property
    def is_told_lost(self) -> bool:
        return LOST in self.errors

    @property
    def told(self) -> str | None:
        """The outcome according to the stream."""
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
        """Tool calls, by id."""
        return {call["id"]: call for call in self._objects("tool_call")}

    @property
    def outputs(self) -> dict[str, Any]:
        """Outputs of tool calls, by the same ids."""
        return {told["id"]: told["output"] for told in self._objects("tool_output")}

    def _objects(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(data) for event, data in self.events if event == name]

    def take(self, frame: Frame) -> None:
        """Take the next frame of the current connection."""
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
            pass  # the server drains; the turn goes on
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
    """Everything that the service acknowledged in one act."""

    sessions: set[str] = field(default_factory=set)
    earlier: set[str] = field(default_factory=set)
    """Sessions of earlier acts, which must still exist."""
    stuck: set[str] = field(default_factory=set)
    """Turns that earlier acts left running, and that are reported already."""
    readings: list[Reading] = field(default_factory=list)
    attempts: dict[str, Attempt] = field(default_factory=dict)
    """Booking attempts, by user."""
    keys: dict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    """The turns of each `Idempotency-Key` of a session."""
    asked: Counter[str] = field(default_factory=Counter)
    """Number of questions, by habit."""
    refused: Counter[str] = field(default_factory=Counter)
    """Number of refusals, by code."""
    broken: int = 0
    """Number of connections that broke."""

    @property
    def turns(self) -> set[str]:
        return {reading.turn_id for reading in self.readings}

    @property
    def places(self) -> set[str]:
        """Sessions that exist, or may exist because a booking got no answer."""
        return self.sessions | {attempt.session_id for attempt in self.attempts.values()}

    def begin(self, reading: Reading) -> Reading:
        self.sessions.add(reading.session_id)
        self.readings.append(reading)
        return reading
