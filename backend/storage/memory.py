"""The ports in plain dicts: for tests, and as the semantics in their most readable form.

Nothing here awaits, so every method is one transaction.
"""

import time as system_time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from itertools import chain, count

from backend.conversation import Message, Outcome, Session, TurnRecord, now
from backend.errors import SessionBusy, SessionNotFound, TurnNotFound
from backend.history import CHARACTERS_PER_TOKEN
from backend.showroom import Showroom
from backend.storage.confirmation import new_confirmation_id
from backend.storage.history import newest_whole_turns
from backend.storage.ports.appointments import Appointment, AppointmentStore, Booking, SlotTaken
from backend.storage.ports.profiles import Profile, ProfileStore
from backend.storage.ports.sessions import (
    WORKER_LOST,
    AlreadyStarted,
    Claim,
    Ending,
    Holder,
    NewTurn,
    SessionStore,
    StopRequest,
    StoredMessage,
)
from backend.storage.ports.showrooms import ShowroomStore
from backend.storage.ports.summaries import IdleSession, SummaryStore
from backend.storage.seed import read_seed


@dataclass(slots=True)
class _Turn:
    record: TurnRecord
    worker: str
    log: bytes | None = None
    idempotency_key: str | None = None
    traceparent: str | None = None
    stop_as: Outcome | None = None
    is_deserted: bool = False
    followed_at: float | None = None

    @property
    def holder(self) -> Holder:
        return Holder(self.record.id, self.worker, self.traceparent)


@dataclass(slots=True)
class Untold:
    """Something was said that no summary tells. `claim_id` is of who is at it."""

    since: float
    not_before: float = 0.0
    claim_id: str | None = None
    failures: int = 0


@dataclass(slots=True)
class _Session:
    session: Session
    untold: Untold | None = None
    characters_per_token: float = CHARACTERS_PER_TOKEN
    current: _Turn | None = None
    turns: list[_Turn] = field(default_factory=list)
    messages: list[StoredMessage] = field(default_factory=list)

    def store(self, turn_id: str, messages: Sequence[Message]) -> None:
        for message in messages:
            self.messages.append(StoredMessage(len(self.messages) + 1, turn_id, message))

    def history(self, history_tokens: int) -> tuple[Message, ...]:
        budget = history_tokens * self.characters_per_token
        return newest_whole_turns(reversed(self.messages), characters=budget)

    def turn_with_key(self, key: str) -> str | None:
        return next((turn.record.id for turn in self.turns if turn.idempotency_key == key), None)

    def open(self, turn: NewTurn, at: datetime) -> None:
        record = TurnRecord(id=turn.id, session_id=turn.session_id, started_at=at)
        self.current = _Turn(
            record,
            turn.worker,
            idempotency_key=turn.idempotency_key,
            traceparent=turn.traceparent,
        )
        self.turns.append(self.current)
        self.session = replace(self.session, turns=len(self.turns), last_turn_at=at)
        self.store(turn.id, [Message.user(turn.query)])

    def close(self, turn: _Turn, ending: Ending, at: datetime) -> None:
        turn.record = _closed(turn.record, ending, at)
        turn.log = ending.log
        usage = self.session.usage + ending.usage
        self.session = replace(self.session, usage=usage, last_turn_at=at)
        self.store(ending.turn_id, ending.messages)
        self.characters_per_token = ending.characters_per_token or self.characters_per_token
        self.current = None

    def close_lost(self, turn: _Turn, at: datetime) -> None:
        turn.record = replace(
            turn.record, outcome=Outcome.FAILED, error_code=WORKER_LOST, finished_at=at
        )
        self.current = None


def _closed(record: TurnRecord, ending: Ending, at: datetime) -> TurnRecord:
    return replace(
        record,
        finished_at=at,
        outcome=ending.outcome,
        error_code=ending.error_code,
        model=ending.model,
        rounds=ending.rounds,
        usage=ending.usage,
        first_chunk_seconds=ending.first_chunk_seconds,
    )


class MemorySessions:
    def __init__(
        self, *, lease_seconds: float, clock: Callable[[], float] = system_time.monotonic
    ) -> None:
        self._lease_seconds = lease_seconds
        self.clock = clock
        self._sessions: dict[tuple[str, str], _Session] = {}
        self._seen: dict[str, float] = {}

    async def create(self, owner: str, session_id: str) -> Session:
        return self._found_or_made(owner, session_id).session

    async def get(self, owner: str, session_id: str) -> Session:
        return self._found(owner, session_id).session

    async def delete(self, owner: str, session_id: str) -> None:
        self._found(owner, session_id)
        del self._sessions[owner, session_id]

    async def messages(
        self, owner: str, session_id: str, *, after: int = 0, limit: int | None = None
    ) -> Sequence[StoredMessage]:
        behind = self._found(owner, session_id).messages[after:]
        return behind[:limit]

    async def turns(self, owner: str, session_id: str) -> Sequence[TurnRecord]:
        return [turn.record for turn in self._found(owner, session_id).turns]

    async def turn(self, owner: str, turn_id: str) -> TurnRecord:
        return self._found_turn(owner, turn_id).record

    async def turn_with_key(self, owner: str, session_id: str, key: str) -> str | None:
        session = self._sessions.get((owner, session_id))
        return None if session is None else session.turn_with_key(key)

    async def settle(self, owner: str, turn_id: str) -> TurnRecord:
        turn = self._found_turn(owner, turn_id)
        for session in self._sessions.values():
            if session.current is turn and not self._is_alive(turn.worker):
                session.close_lost(turn, now())
        return replace(turn.record, traceparent=turn.traceparent)

    async def turn_log(self, owner: str, turn_id: str) -> bytes | None:
        return self._found_turn(owner, turn_id).log

    async def purge_logs(self, *, before: datetime) -> None:
        for turn in self._all_turns():
            if turn.record.finished_at and turn.record.finished_at < before:
                turn.log = None

    async def purge_sessions(self, *, before: datetime) -> None:
        for key, kept in list(self._sessions.items()):
            if (kept.session.last_turn_at or kept.session.created_at) < before:
                del self._sessions[key]

    async def request_stop(self, owner: str, turn_id: str) -> Holder:
        turn = self._found_turn(owner, turn_id)
        turn.stop_as = Outcome.CANCELLED
        return turn.holder

    async def request_end(
        self, owner: str, session_id: str, *, unless_read: bool = False
    ) -> Holder | None:
        session = self._sessions.get((owner, session_id))
        turn = None if session is None else session.current
        if turn is None or (unless_read and not self._is_unread(turn)):
            return None
        if not unless_read:
            turn.stop_as = Outcome.CANCELLED
        turn.stop_as = turn.stop_as or Outcome.DISCONNECTED
        return turn.holder

    async def running(self, turn_ids: Collection[str]) -> frozenset[str]:
        return frozenset(
            turn.record.id
            for turn in self._all_turns()
            if turn.record.id in turn_ids
            and turn.record.outcome is None
            and self._is_alive(turn.worker)
        )

    async def is_followed(self, turn_id: str) -> bool:
        return any(
            turn.record.id == turn_id and self._is_lately(turn.followed_at)
            for turn in self._all_turns()
        )

    async def claim(self, turn: NewTurn, *, history_tokens: int) -> Claim:
        find = self._found_or_made if turn.creates_session else self._found
        session = find(turn.owner, turn.session_id)
        if turn.idempotency_key and (known := session.turn_with_key(turn.idempotency_key)):
            raise AlreadyStarted(known)
        if session.current:
            if self._is_alive(session.current.worker):
                raise SessionBusy
            session.close_lost(session.current, now())
        history = session.history(history_tokens)
        session.open(turn, now())
        session.untold = Untold(self.clock())
        self._seen[turn.worker] = self.clock()
        return Claim(history, session.characters_per_token)

    async def finish(self, ending: Ending) -> bool:
        for session in self._sessions.values():
            if session.current and session.current.record.id == ending.turn_id:
                session.close(session.current, ending, now())
                session.untold = Untold(self.clock())
                return True
        return False

    async def renew(
        self, worker: str, *, deserted: Collection[str] = (), followed: Collection[str] = ()
    ) -> Sequence[StopRequest]:
        self._seen[worker] = self.clock()
        requests = []
        for turn in self._all_turns():
            turn_id = turn.record.id
            if turn_id in followed:
                turn.followed_at = self.clock()
            if turn.worker == worker and turn.record.outcome is None:
                turn.is_deserted = turn_id in deserted
                if turn.stop_as is Outcome.DISCONNECTED and not turn.is_deserted:
                    turn.stop_as = None
                if turn.stop_as is not None:
                    requests.append(StopRequest(turn_id, turn.stop_as))
        return requests

    async def retire(self, worker: str) -> None:
        self._seen.pop(worker, None)

    def quiet(self) -> Iterator[tuple[str, _Session, Untold]]:
        """The sessions, each with its owner, in which no turn runs and that have something new."""
        for (owner, _), session in self._sessions.items():
            is_held = session.current and self._is_alive(session.current.worker)
            if session.untold and not is_held:
                yield owner, session, session.untold

    def _is_alive(self, worker: str) -> bool:
        return self._is_lately(self._seen.get(worker))

    def _is_unread(self, turn: _Turn) -> bool:
        return turn.is_deserted and not self._is_lately(turn.followed_at)

    def _is_lately(self, at: float | None) -> bool:
        return at is not None and self.clock() - at < self._lease_seconds

    def _found(self, owner: str, session_id: str) -> _Session:
        try:
            return self._sessions[owner, session_id]
        except KeyError:
            raise SessionNotFound from None

    def _found_or_made(self, owner: str, session_id: str) -> _Session:
        made = _Session(Session(id=session_id, created_at=now()))
        return self._sessions.setdefault((owner, session_id), made)

    def _all_turns(self) -> Iterator[_Turn]:
        return chain.from_iterable(session.turns for session in self._sessions.values())

    def _found_turn(self, owner: str, turn_id: str) -> _Turn:
        for (session_owner, _), session in self._sessions.items():
            for turn in session.turns:
                if session_owner == owner and turn.record.id == turn_id:
                    return turn
        raise TurnNotFound


class MemorySummaries:
    def __init__(self, sessions: MemorySessions) -> None:
        self._sessions = sessions
        self._claim_ids = count(1)

    async def claim(
        self, *, idle_seconds: float, claim_seconds: float, history_tokens: int
    ) -> IdleSession | None:
        at = self._sessions.clock()
        due = [
            (owner, session, untold)
            for owner, session, untold in self._sessions.quiet()
            if at - untold.since >= idle_seconds and at >= untold.not_before
        ]
        if not due:
            return None
        owner, session, untold = min(due, key=lambda each: each[2].since)
        untold.not_before = at + claim_seconds
        untold.claim_id = str(next(self._claim_ids))
        return IdleSession(
            claim_id=untold.claim_id,
            owner=owner,
            session_id=session.session.id,
            history=session.history(history_tokens),
            summary=session.session.summary,
            failures=untold.failures,
        )

    async def store(self, idle: IdleSession, summary: str) -> bool:
        for _, session, untold in self._sessions.quiet():
            if untold.claim_id == idle.claim_id:
                session.session = replace(session.session, summary=summary)
                session.untold = None
                return True
        return False

    async def postpone(self, idle: IdleSession, *, seconds: float | None, failures: int) -> None:
        for _, session, untold in self._sessions.quiet():
            if untold.claim_id == idle.claim_id:
                not_before = self._sessions.clock() + (seconds or 0.0)
                later = Untold(untold.since, not_before=not_before, failures=failures)
                session.untold = None if seconds is None else later


class MemoryAppointments:
    def __init__(self) -> None:
        self._bookings: dict[tuple[str, date, time], Booking] = {}

    async def taken(self, dealership_id: str, day: date) -> frozenset[time]:
        return frozenset(
            slot
            for house, booked_day, slot in self._bookings
            if (house, booked_day) == (dealership_id, day)
        )

    async def book(self, appointment: Appointment) -> Booking:
        slot = (appointment.dealership_id, appointment.date, appointment.time)
        booking = self._bookings.setdefault(slot, Booking(new_confirmation_id(), appointment))
        if booking.appointment != appointment:
            raise SlotTaken
        return booking

    async def of_user(self, user_id: str) -> Sequence[Booking]:
        mine = [b for b in self._bookings.values() if b.appointment.user_id == user_id]
        return sorted(mine, key=lambda b: (b.appointment.date, b.appointment.time))


class MemoryProfiles:
    def __init__(self, profiles: Sequence[Profile]) -> None:
        self._profiles = {profile.user_id: profile for profile in profiles}

    async def profile(self, user_id: str) -> Profile | None:
        return self._profiles.get(user_id)


class MemoryShowrooms:
    def __init__(self, showroom: Showroom) -> None:
        self._showroom = showroom

    async def showroom(self) -> Showroom:
        return self._showroom


@dataclass(slots=True)
class MemoryStores:
    sessions: SessionStore
    summaries: SummaryStore
    appointments: AppointmentStore
    profiles: ProfileStore
    showrooms: ShowroomStore

    async def ping(self) -> None:
        """There is nothing to reach."""

    async def close(self) -> None:
        """There is nothing to close."""


def memory_stores(*, lease_seconds: float) -> MemoryStores:
    seed = read_seed()
    sessions = MemorySessions(lease_seconds=lease_seconds)
    return MemoryStores(
        sessions,
        MemorySummaries(sessions),
        MemoryAppointments(),
        MemoryProfiles(seed.profiles),
        MemoryShowrooms(seed.showroom),
    )
