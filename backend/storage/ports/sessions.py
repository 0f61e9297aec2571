"""Sessions, their turns and messages; and what workers tell each other of these."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from backend.domain.conversation import History, Message, Outcome, Session, TurnRecord, Usage

WORKER_LOST = "worker_lost"
"""The error code of a turn that somebody else had to close. It has no log."""

LOST_AFTER_LEASES = 2
"""That a worker is silent, until its turns are closed unasked: it may only have been frozen."""


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
    """The context of its span, as W3C Trace Context writes it."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A session, held for one turn by one worker.

    `characters_per_token` is what the upstream's reported usage says of this session.
    """

    history: History
    characters_per_token: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Everything that the end of a turn stores at once."""

    turn_id: str
    outcome: Outcome
    messages: Sequence[Message]
    log: bytes
    error_code: str | None = None
    finish_reason: str | None = None
    model: str | None = None
    rounds: int = 0
    usage: Usage = field(default_factory=Usage)
    first_chunk_seconds: float | None = None
    characters_per_token: float | None = None


@dataclass(frozen=True, slots=True)
class StoredTurn:
    """A turn with everything that reading it again takes.

    The record has its `traceparent`, which no other look-up brings. `log` is what `finish` was
    given, while it is kept. `query` is known only of a turn that was found by its key.
    """

    record: TurnRecord
    log: bytes | None = None
    query: str | None = None

    @property
    def is_running(self) -> bool:
        return self.record.outcome is None

    @property
    def is_lost(self) -> bool:
        """Its worker died, and its log with it."""
        return self.record.error_code == WORKER_LOST


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


@dataclass(frozen=True, slots=True)
class ClockDoubt:
    """A clock seems to have jumped, and is not believed for so much longer."""

    jump_seconds: float
    lasts_seconds: float


@dataclass(frozen=True, slots=True)
class StoreTime:
    """The time by the store's clock.

    With `is_own_clock` that is the clock of the worker who asks. Then `newest` is the newest time
    that anybody else has stored, or this worker with a turn; None if there is none. `doubt` is
    what a worker said of that clock, while it lasts.
    """

    now: datetime
    newest: datetime | None = None
    is_own_clock: bool = False
    doubt: ClockDoubt | None = None


class AlreadyStarted(Exception):
    """The session has a turn with this idempotency key."""

    def __init__(self, turn_id: str) -> None:
        super().__init__(turn_id)
        self.turn_id = turn_id


class SessionStore(Protocol):
    """Sessions, their turns and messages. A session is found by `(owner, session_id)` only.

    No look-up shows a turn as running whose worker is gone: it is closed as failed first.
    """

    async def create(self, owner: str, session_id: str) -> Session: ...

    async def get(self, owner: str, session_id: str, /) -> Session:
        """Raises: SessionNotFound."""
        ...

    async def delete(self, owner: str, session_id: str) -> None:
        """Forget the session and everything in it. Raises: SessionNotFound."""
        ...

    async def messages(
        self, owner: str, session_id: str, /, *, after: int = 0, limit: int | None = None
    ) -> Sequence[StoredMessage]:
        """In order, those behind position `after`. Raises: SessionNotFound."""
        ...

    async def turns(self, owner: str, session_id: str, /) -> Sequence[TurnRecord]:
        """Oldest first. Raises: SessionNotFound."""
        ...

    async def turn(self, owner: str, turn_id: str, /) -> TurnRecord:
        """Raises: TurnNotFound."""
        ...

    async def turn_with_log(self, owner: str, turn_id: str, /) -> StoredTurn:
        """The turn with its log, if that is kept. Raises: TurnNotFound."""
        ...

    async def turn_with_key(self, owner: str, session_id: str, /, key: str) -> StoredTurn | None:
        """The same of the turn that this idempotency key started in this session, if it did."""
        ...

    async def time(self, worker: str) -> StoreTime:
        """The clock by which leases expire and what is stored grows old, as `worker` asks."""
        ...

    async def close_lost(self) -> int:
        """Close the turns that nobody looks up and whose workers have been silent for
        `LOST_AFTER_LEASES`; returns their number.
        """
        ...

    async def doubt_clock(self, doubt: ClockDoubt) -> None:
        """Tell all workers, also those that start while it lasts."""
        ...

    async def purge_logs(self, *, kept_seconds: float) -> None:
        """Forget the logs of turns that ended longer ago."""
        ...

    async def purge_sessions(self, *, kept_seconds: float) -> None:
        """Forget the sessions in which nothing has begun or ended for longer; none in which a
        turn runs.
        """
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

        Raises:
            NotStorable: there is something in this ending that the store cannot hold.
        """
        ...

    async def renew(
        self, worker: str, *, unfollowed: Collection[str] = (), followed: Collection[str] = ()
    ) -> Sequence[StopRequest]:
        """Say that the worker lives. Its claims hold for `lease_seconds` from now.

        It also says which of its turns nobody follows here, and which turns of other
        workers somebody follows here. Returns what is asked of it.
        """
        ...

    async def renew_lease(self, worker: str) -> None:
        """Say that the worker lives, and nothing else: the smallest thing that can be written."""
        ...

    async def retire(self, worker: str) -> None:
        """Say that the worker is gone: whatever it still held is free at once."""
        ...
