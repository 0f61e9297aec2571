"""Sessions with their turns and messages, and the requests between workers about turns."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, Protocol

from backend.domain.conversation import History, Message, Outcome, Role, Session, TurnRecord
from backend.domain.turn_keys import TurnKey
from backend.domain.usage import ModelCall, Usage
from backend.storage.ports.appointments import Booking
from backend.storage.ports.store_time import ClockDoubt, StoreTime

WORKER_LOST = "worker_lost"
"""The error code of a turn that was closed because its worker died. That turn has no log."""

LOST_AFTER_LEASES = 2
"""How many leases a worker must be silent before `close_lost` closes its turns.

More than one, because the worker may only have been frozen for a while.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTurn:
    """A query that is about to claim its session."""

    id: str
    owner: str
    session_id: str
    worker: str
    query: str
    creates_session: bool
    idempotency_key: str | None = None
    traceparent: str | None = None
    """The turn's span, in the format of W3C Trace Context."""
    replaces: str | None = None
    """The turn whose place this one takes: it and all later ones leave the history."""
    given: Sequence[Message] = ()
    """Earlier messages, by the caller's word. Stored only if the claim makes the session.

    Texts of the user and the assistant: a tool's output cannot be given.
    """

    def __post_init__(self) -> None:
        if any(each.role is Role.TOOL or each.tool_calls for each in self.given):
            raise ValueError("given messages must have no tool calls and no tool outputs")

    @property
    def key(self) -> TurnKey:
        return TurnKey(self.owner, self.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """Everything that the model learns beside the history.

    A summary of what was before it, and the bookings of all turns that are not in it, oldest first.
    `is_given` says that its first messages are the caller's word.
    """

    summary: str | None = None
    bookings: Sequence[Booking] = ()
    is_given: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LostTurn:
    """A turn that was closed because its worker is dead."""

    id: str
    session_id: str
    traceparent: str | None


@dataclass(frozen=True, slots=True)
class Claim:
    """A session that one worker holds for one turn.

    `history` begins where the last cut left it, and `earlier` stands for what was cut.
    `characters_per_token` is derived from the usage that the upstream reported for this session.
    """

    history: History
    characters_per_token: float
    earlier: Earlier = Earlier()
    lost: LostTurn | None = None
    """The turn of a dead worker that held the session, and was closed by this claim."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Everything that the end of a turn stores, in one transaction."""

    owner: str
    turn_id: str
    outcome: Outcome
    messages: Sequence[Message]
    log: bytes
    error_code: str | None = None
    finish_reason: str | None = None
    model: str | None = None
    rounds: int = 0
    usage: Usage = field(default_factory=Usage)
    calls: Sequence[ModelCall] = ()
    first_chunk_seconds: float | None = None
    characters_per_token: float | None = None
    may_be_stored: bool = False
    """Whether an earlier attempt to store this ending may have succeeded without telling so."""

    @property
    def key(self) -> TurnKey:
        return TurnKey(self.owner, self.turn_id)


@dataclass(frozen=True, slots=True)
class StoredTurn:
    """A turn with everything that a replay needs.

    Only here the record has its `traceparent`. `log` is the log from the turn's `Ending`, or None
    while the turn runs and after retention has deleted it. Only `turn_with_key` fills in `query`.
    """

    record: TurnRecord
    log: bytes | None = None
    query: str | None = None

    @property
    def is_running(self) -> bool:
        return self.record.outcome is None

    @property
    def is_lost(self) -> bool:
        """Whether the turn's worker died. The log died with it."""
        return self.record.error_code == WORKER_LOST


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message with its position, which counts from 1 within a session, without gaps.

    `number` is its position within its turn, from 1. Only `SessionStore.messages` fills it in.
    """

    position: int
    turn_id: str
    message: Message
    number: int = 0

    @property
    def id(self) -> str:
        """Identifies the message within the session. The question of a turn has the number 1."""
        return f"{self.turn_id}-{self.number}"


@dataclass(frozen=True, slots=True)
class Holder:
    """A running turn, and the worker that runs it."""

    turn_id: str
    worker: str
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class StopRequest:
    """A request to end a turn. `outcome` is cancelled, or disconnected if nobody follows it."""

    turn_id: str
    outcome: Outcome


class SessionPlace(NamedTuple):
    """A place in the list of an owner's sessions: that of the session used then, with this id."""

    last_used_at: datetime
    session_id: str


def place_of(session: Session) -> SessionPlace:
    return SessionPlace(session.last_used_at, session.id)


class AlreadyStarted(Exception):
    """The session already has a turn with this idempotency key."""

    def __init__(self, turn_id: str) -> None:
        super().__init__(turn_id)
        self.turn_id = turn_id


class SessionStore(Protocol):
    """Stores sessions, turns and messages. A session is identified by `(owner, session_id)`.

    If a look-up meets a running turn whose worker is dead, it first closes the turn as failed.
    """

    async def create(self, owner: str, session_id: str) -> Session: ...

    async def get(self, owner: str, session_id: str, /) -> Session:
        """Raises: SessionNotFound."""
        ...

    async def of_owner(
        self, owner: str, *, after: SessionPlace | None = None, limit: int
    ) -> Sequence[Session]:
        """Return the owner's sessions, last used first, from those behind the place `after`."""
        ...

    async def rename(self, owner: str, session_id: str, *, title: str | None) -> None:
        """Set the title; None brings back the default. Raises: SessionNotFound."""
        ...

    async def delete(self, owner: str, session_id: str) -> None:
        """Delete the session with its turns and messages. Raises: SessionNotFound."""
        ...

    async def messages(
        self, owner: str, session_id: str, /, *, after: int = 0, limit: int | None = None
    ) -> Sequence[StoredMessage]:
        """Return the messages after position `after`, in order. Raises: SessionNotFound."""
        ...

    async def turns(self, owner: str, session_id: str, /) -> Sequence[TurnRecord]:
        """Return the turns, oldest first. Raises: SessionNotFound."""
        ...

    async def turn(self, owner: str, turn_id: str, /) -> TurnRecord:
        """Raises: TurnNotFound."""
        ...

    async def turn_with_log(self, owner: str, turn_id: str, /) -> StoredTurn:
        """Return the turn with its log, if the log is still kept. Raises: TurnNotFound."""
        ...

    async def turn_with_key(self, owner: str, session_id: str, /, key: str) -> StoredTurn | None:
        """Return the turn with this idempotency key, its log and its query; None if unknown."""
        ...

    async def time(self, worker: str) -> StoreTime:
        """Return the time that leases and retention go by. `worker` is the asking worker."""
        ...

    async def close_lost(self) -> int:
        """Close the turns whose workers have been silent for `LOST_AFTER_LEASES`, and count them.

        Without this, a turn that nobody looks up would stay open forever.
        """
        ...

    async def doubt_clock(self, doubt: ClockDoubt) -> None:
        """Store the doubt for all workers, including those that start while it lasts."""
        ...

    async def mark_clock(self, uptime_seconds: float) -> None:
        """Store that the clock is trusted now, with the seconds since the machine's start."""
        ...

    async def purge_logs(self, *, kept_seconds: float) -> None:
        """Delete the logs of turns that ended more than `kept_seconds` ago."""
        ...

    async def purge_sessions(self, *, kept_seconds: float) -> None:
        """Delete the sessions that were last used more than `kept_seconds` ago.

        A session with a running turn stays.
        """
        ...

    async def request_stop(self, owner: str, turn_id: str) -> Holder:
        """Ask the turn's worker to cancel it, if it still runs. Raises: TurnNotFound."""
        ...

    async def request_end(
        self, owner: str, session_id: str, *, unless_read: bool = False
    ) -> Holder | None:
        """Ask for the end of the turn that holds the session, and return it; None if there is none.

        With `unless_read`, a turn that somebody follows, on any worker, is left alone (None).
        """
        ...

    async def running(self, turns: Collection[TurnKey]) -> frozenset[str]:
        """Return the ids of those turns that have not ended and have a live worker."""
        ...

    async def is_followed(self, turn: TurnKey) -> bool:
        """Whether, within the last lease, another worker reported a follower of this turn."""
        ...

    async def claim(
        self, turn: NewTurn, *, history_tokens: int, beside_characters: int = 0
    ) -> Claim:
        """Store the turn and the user's message, and hold the session for the turn.

        If a worker with an expired lease holds the session, its turn is closed as failed and the
        claim succeeds. The history has whole turns. It begins at the same message until it and
        `beside_characters` no longer fit `history_tokens`; then it is cut to about half.

        With `turn.replaces`, the messages of that turn and of all later ones are deleted first. The
        turns keep their records and logs, and a summary that knows of them is dropped.

        Raises:
            AlreadyStarted: the session already has a turn with this idempotency key.
            SessionBusy: a live worker holds the session.
            NothingToReplace: the session has no messages of the turn that is to be replaced.
            SessionNotFound: the session does not exist and `creates_session` is False.
        """
        ...

    async def finish(self, ending: Ending) -> bool:
        """Store how the turn ended, and release its session.

        Returns False and stores nothing if the turn no longer holds its session: another turn took
        over, or the session was deleted. If an ending that `may_be_stored` was stored before, only
        its log is replaced: the client has seen an error since then.

        Raises:
            NotStorable: the ending has content that the store cannot hold.
        """
        ...

    async def renew(
        self, worker: str, *, unfollowed: Collection[str] = (), followed: Collection[TurnKey] = ()
    ) -> Sequence[StopRequest]:
        """Renew the worker's lease: its claims hold for `lease_seconds` from now.

        `unfollowed` are the ids of this worker's turns without a follower here; `followed` are
        turns of other workers with a follower here. Returns the stop requests for this worker's
        turns.
        """
        ...

    async def renew_lease(self, worker: str) -> None:
        """Renew the worker's lease, and nothing else. This is the smallest possible write."""
        ...

    async def live_workers(self) -> int:
        """Return how many workers hold a lease."""
        ...

    async def retire(self, worker: str) -> None:
        """Drop the worker's lease, so that the sessions it still holds are free at once."""
        ...
