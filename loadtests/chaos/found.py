"""The state of the service after an act: what it stored, and what it still holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from loadtests.chaos.record import Event, Slot

CLOCKS_DIFFER = timedelta(seconds=2)
"""Between a statement of ours and one of the service."""


@dataclass(frozen=True)
class StoredTurn:
    """A turn as `GET /turns/{id}` tells it; while it runs it has no outcome."""

    outcome: str | None
    error_code: str | None
    started_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True)
class Told:
    """What the history of a session has of one turn."""

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
    """Of the worker that has most."""

    descriptors: int
    memory_bytes: int


@dataclass
class Found:
    began_at: datetime
    """By the database's clock, as the next."""
    ended_at: datetime
    turns: dict[str, StoredTurn] = field(default_factory=dict)
    """A turn that does not exist is missing here."""
    histories: dict[str, History] = field(default_factory=dict)
    """By session. One that does not exist is missing here."""
    replays: dict[str, Sequence[Event]] = field(default_factory=dict)
    """By turn."""
    bookings: Sequence[Booked] = ()
    held: dict[str, str] = field(default_factory=dict)
    """For each session, why its next query failed; empty if it was answered."""
    running_turns: Sequence[str] = ()
    """Turns without an outcome in the store, long after everybody has left."""
    halts: Sequence[str] = ()
    """How often gunicorn gave up, and when."""
    open_upstream: int = 0
    """Completions that the stand-in still plays."""
    before: Levels | None = None
    after: Levels | None = None
