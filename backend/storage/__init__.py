"""The ports to kept state. `memory` and `sql` stand behind them, and `opening` picks one; behind
the shared logs stands `redis`.

Every method may raise `StorageError`. Times are aware and in UTC, except those of
appointments: a date and a time on the wall of the dealership.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from typing import Protocol

from backend.conversation import Message, Outcome, Session, TurnRecord, Usage
from backend.showroom import Showroom

WORKER_LOST = "worker_lost"
"""The error code of a turn that somebody else had to close. It has no log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTurn:
    """A query that asks for its session."""

    id: str
    owner: str
    session_id: str
    worker: str
    query: str
    creates_session: bool
    idempotency_key: str | None = None
    traceparent: str | None = None
    """Of its span, as W3C Trace Context writes it."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A session, held for one turn by one worker.

    `history` is what was said before, oldest first and in whole turns.
    `characters_per_token` is what the upstream's reported usage says of this session.
    """

    history: tuple[Message, ...]
    characters_per_token: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Everything that the end of a turn stores at once."""

    turn_id: str
    outcome: Outcome
    messages: Sequence[Message]
    log: bytes
    error_code: str | None = None
    model: str | None = None
    rounds: int = 0
    usage: Usage = field(default_factory=Usage)
    first_chunk_seconds: float | None = None
    characters_per_token: float | None = None


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message at its place; positions count from 1 within a session, without gaps."""

    position: int
    turn_id: str
    message: Message


@dataclass(frozen=True, slots=True)
class Holder:
    """A turn that runs, and the worker that runs it."""

    turn_id: str
    worker: str
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class StopRequest:
    """Somebody wants a turn to end: as cancelled, or as disconnected if nobody reads it."""

    turn_id: str
    outcome: Outcome


class AlreadyStarted(Exception):
    """The session has a turn with this idempotency key."""

    def __init__(self, turn_id: str) -> None:
        super().__init__(turn_id)
        self.turn_id = turn_id


class SessionStore(Protocol):
    """Sessions, their turns and messages. A session is found by `(owner, session_id)` only."""

    async def create(self, owner: str, session_id: str) -> Session: ...

    async def get(self, owner: str, session_id: str) -> Session:
        """Raises: SessionNotFound."""
        ...

    async def delete(self, owner: str, session_id: str) -> None:
        """Forget the session and everything in it. Raises: SessionNotFound."""
        ...

    async def messages(
        self, owner: str, session_id: str, *, after: int = 0, limit: int | None = None
    ) -> Sequence[StoredMessage]:
        """In order, those behind position `after`. Raises: SessionNotFound."""
        ...

    async def turns(self, owner: str, session_id: str) -> Sequence[TurnRecord]:
        """Oldest first. Raises: SessionNotFound."""
        ...

    async def turn(self, owner: str, turn_id: str) -> TurnRecord:
        """Raises: TurnNotFound."""
        ...

    async def turn_with_key(self, owner: str, session_id: str, key: str) -> str | None:
        """The id of the turn that this idempotency key started in this session, if it did."""
        ...

    async def settle(self, owner: str, turn_id: str) -> TurnRecord:
        """The turn, and with it its `traceparent`, which no other look-up brings.

        It is closed as failed first, if its worker is gone. Raises: TurnNotFound.
        """
        ...

    async def turn_log(self, owner: str, turn_id: str) -> bytes | None:
        """The log that `finish` was given, while it is kept. Raises: TurnNotFound."""
        ...

    async def purge_logs(self, *, before: datetime) -> None:
        """Forget the logs of turns that ended before."""
        ...

    async def purge_sessions(self, *, before: datetime) -> None:
        """Forget the sessions in which nothing has begun since then."""
        ...

    async def request_stop(self, owner: str, turn_id: str) -> Holder:
        """Ask the worker that runs the turn, if any does, to stop it. Raises: TurnNotFound."""
        ...

    async def request_end(
        self, owner: str, session_id: str, *, unless_read: bool = False
    ) -> Holder | None:
        """Ask for the end of the turn that holds the session.

        With `unless_read` only of one that nobody follows, on any worker. None if there is
        no such turn.
        """
        ...

    async def running(self, turn_ids: Collection[str]) -> frozenset[str]:
        """Those of the turns that have not ended and whose worker lives."""
        ...

    async def is_followed(self, turn_id: str) -> bool:
        """Whether another worker than its own has said lately that somebody follows it there."""
        ...

    async def claim(self, turn: NewTurn, *, history_tokens: int) -> Claim:
        """Store the turn and the user's message, and hold the session.

        A claim whose worker has not renewed its lease is taken over, and its turn is
        closed as failed. The history is the newest whole turns that fit `history_tokens`.

        Raises:
            AlreadyStarted: the session has a turn with this idempotency key.
            SessionBusy: a living worker holds the session.
            SessionNotFound: there is none and `creates_session` is False.
        """
        ...

    async def finish(self, ending: Ending) -> bool:
        """Store how the turn ended and let go of its session.

        False, and nothing stored, if the turn is no longer held: it was taken over,
        or its session was deleted.
        """
        ...

    async def renew(
        self, worker: str, *, deserted: Collection[str] = (), followed: Collection[str] = ()
    ) -> Sequence[StopRequest]:
        """Say that the worker lives. Its claims hold for `lease_seconds` from now.

        It also says which of its turns nobody follows here, and which turns of other
        workers somebody follows here. Returns what is asked of it.
        """
        ...

    async def retire(self, worker: str) -> None:
        """Say that the worker is gone: whatever it still held is free at once."""
        ...


@dataclass(frozen=True, slots=True)
class SharedBatch:
    """Encoded events of a turn, from behind position `after` up to position `last`."""

    turn_id: str
    after: int
    last: int
    events: bytes


@dataclass(frozen=True, slots=True)
class News:
    """What came from other workers: events, and whether one of them asked to be heard."""

    batches: Sequence[SharedBatch] = ()
    is_nudged: bool = False


class SharedLogs(Protocol):
    """The logs of turns while they run, where all workers can read them.

    They may be lost at any moment: the session store is what counts, and this is quicker.
    """

    async def write(
        self,
        batches: Sequence[SharedBatch],
        *,
        nudged: Collection[str] = (),
        forgotten: Collection[str] = (),
    ) -> None:
        """Add what is not there yet, tell workers to look at the session store, and keep nothing
        of turns that are to be forgotten.

        After a `StorageError` nothing is known of what was written; to write it again does
        no harm.
        """
        ...

    async def read(self, worker: str, after: Mapping[str, int]) -> News:
        """Wait a moment for a nudge to this worker, or for events of turns behind a position."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleSession:
    """A session that is quiet, held for its summary.

    `history` is what was said, in whole turns and oldest first, as far as it was asked for;
    `summary` is the one before. `failures` counts the attempts since something was said.
    """

    claim_id: str
    owner: str
    session_id: str
    history: tuple[Message, ...]
    summary: str | None = None
    failures: int = 0


class SummaryStore(Protocol):
    """Which sessions have something new that no summary tells, and who is at it.

    A turn that begins or ends takes the session from whoever holds it here, and starts anew.
    """

    async def claim(
        self, *, idle_seconds: float, claim_seconds: float, history_tokens: int
    ) -> IdleSession | None:
        """Hold the session that has waited longest among those without a turn for `idle_seconds`.

        Across all workers one gets it, and for `claim_seconds` nobody else does. None if there
        is none.
        """
        ...

    async def store(self, idle: IdleSession, summary: str) -> bool:
        """Keep the summary, and let go of the session until something new is said.

        False, and nothing stored, if it is no longer held: a turn has begun, the session was
        deleted, or somebody else holds it by now.
        """
        ...

    async def postpone(self, idle: IdleSession, *, seconds: float | None, failures: int) -> None:
        """Let go of the session for so long; for None until something new is said."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Appointment:
    """A booked slot, by the dealership's wall clock."""

    user_id: str
    dealership_id: str
    date: date
    time: time
    car_model: str


@dataclass(frozen=True, slots=True)
class Booking:
    confirmation_id: str
    appointment: Appointment


class SlotTaken(Exception):
    """Somebody else has this slot."""


class AppointmentStore(Protocol):
    async def taken(self, dealership_id: str, day: date) -> frozenset[time]:
        """The slots that are booked on a day."""
        ...

    async def book(self, appointment: Appointment) -> Booking:
        """Book the slot, or return the booking if this very appointment is booked already.

        Atomic across all workers: of many callers, one gets the slot.

        Raises:
            SlotTaken: the slot belongs to another appointment.
        """
        ...

    async def of_user(self, user_id: str) -> Sequence[Booking]:
        """Past and coming, in order of date and time."""
        ...


@dataclass(frozen=True, slots=True)
class Profile:
    user_id: str
    name: str
    preferred_dealership_id: str | None = None


class ProfileStore(Protocol):
    async def profile(self, user_id: str) -> Profile | None: ...


class ShowroomStore(Protocol):
    async def showroom(self) -> Showroom:
        """The dealerships and the car line; read once, at start."""
        ...


class Stores(Protocol):
    """One opened backend: all ports, and its closing."""

    sessions: SessionStore
    summaries: SummaryStore
    appointments: AppointmentStore
    profiles: ProfileStore
    showrooms: ShowroomStore

    async def ping(self) -> None:
        """Raises: StorageError."""
        ...

    async def close(self) -> None: ...
