"""The state of the service after an act: its stored data and its open resources."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from loadtests.chaos.record import Event, Slot

CLOCKS_DIFFER = timedelta(seconds=2)
"""Tolerance between times of this run and of the service."""


@dataclass(frozen=True)
class StoredTurn:
    """A turn as in `GET /turns/{id}`. A running turn has no outcome."""

    outcome: str | None
    error_code: str | None
    started_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True)
class Told:
    """The messages of one turn in the history of a session."""

    questions: int = 0
    asked: str = ""
    text: str = ""
    calls: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)


History = Mapping[str, Told]
"""By turn."""


@dataclass(frozen=True)
class Booked:
    """A row of the appointments."""

    confirmation_id: str
    user_id: str
    slot: Slot
    booked_at: datetime


@dataclass(frozen=True)
class Levels:
    """The maximum over all workers."""

    descriptors: int
    memory_bytes: int


@dataclass
class Found:
    began_at: datetime
    """By the database's clock, like `ended_at`."""
    ended_at: datetime
    turns: dict[str, StoredTurn] = field(default_factory=dict)
    """Only turns that exist."""
    histories: dict[str, History] = field(default_factory=dict)
    """By session; only sessions that exist."""
    replays: dict[str, Sequence[Event]] = field(default_factory=dict)
    """By turn."""
    bookings: Sequence[Booked] = ()
    held: dict[str, str] = field(default_factory=dict)
    """For each session the reason why its next query failed; empty if it was answered."""
    running_turns: Sequence[str] = ()
    """Turns without an outcome in the database, long after all clients have left."""
    halts: Sequence[str] = ()
    """Each end of gunicorn, with its time."""
    open_upstream: int = 0
    """Number of completions that the stand-in still sends."""
    before: Levels | None = None
    after: Levels | None = None
