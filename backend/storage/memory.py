"""The ports in plain dicts: for tests, and as the semantics in their most readable form.

Nothing here awaits, so every method is one transaction.
"""

import time as system_time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from itertools import chain

from backend.conversation import Message, Outcome, Session, TurnRecord, now
from backend.errors import SessionBusy, SessionNotFound, TurnNotFound
from backend.history import CHARACTERS_PER_TOKEN
from backend.showroom import Showroom
from backend.storage import (
    WORKER_LOST,
    AlreadyStarted,
    Appointment,
    AppointmentStore,
    Booking,
    Claim,
    Ending,
    NewTurn,
    Profile,
    ProfileStore,
    SessionStore,
    ShowroomStore,
    SlotTaken,
    StoredMessage,
)
from backend.storage.confirmation import new_confirmation_id
from backend.storage.history import newest_whole_turns
from backend.storage.seed import read_seed


@dataclass(slots=True)
class _Turn:
    record: TurnRecord
    worker: str
    log: bytes | None = None
    idempotency_key: str | None = None
    is_to_stop: bool = False


@dataclass(slots=True)
class _Session:
    session: Session
    characters_per_token: float = CHARACTERS_PER_TOKEN
    current: _Turn | None = None
    turns: list[_Turn] = field(default_factory=list)
    messages: list[StoredMessage] = field(default_factory=list)

    def store(self, turn_id: str, messages: Sequence[Message]) -> None:
        for message in messages:
            self.messages.append(StoredMessage(len(self.messages) + 1, turn_id, message))

    def with_key(self, key: str) -> str | None:
        return next((turn.record.id for turn in self.turns if turn.idempotency_key == key), None)

    def history(self, history_tokens: int) -> tuple[Message, ...]:
        budget = history_tokens * self.characters_per_token
        return newest_whole_turns(reversed(self.messages), characters=budget)

    def open(self, turn: NewTurn, at: datetime) -> None:
        record = TurnRecord(id=turn.id, session_id=turn.session_id, started_at=at)
        self.current = _Turn(record, turn.worker, idempotency_key=turn.idempotency_key)
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
        self._clock = clock
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
        return session.with_key(key) if session else None

    async def settle(self, owner: str, turn_id: str) -> TurnRecord:
        turn = self._found_turn(owner, turn_id)
        for session in self._sessions.values():
            if session.current is turn and not self._is_alive(turn.worker):
                session.close_lost(turn, now())
        return turn.record

    async def turn_log(self, owner: str, turn_id: str) -> bytes | None:
        return self._found_turn(owner, turn_id).log

    async def purge_logs(self, *, before: datetime) -> None:
        for turn in self._all_turns():
            if turn.record.finished_at and turn.record.finished_at < before:
                turn.log = None

    async def request_stop(self, owner: str, turn_id: str) -> None:
        self._found_turn(owner, turn_id).is_to_stop = True

    async def claim(self, turn: NewTurn, *, history_tokens: int) -> Claim:
        find = self._found_or_made if turn.creates_session else self._found
        session = find(turn.owner, turn.session_id)
        if turn.idempotency_key is not None and (known := session.with_key(turn.idempotency_key)):
            raise AlreadyStarted(known)
        if session.current:
            if self._is_alive(session.current.worker):
                raise SessionBusy
            session.close_lost(session.current, now())
        history = session.history(history_tokens)
        session.open(turn, now())
        await self.renew(turn.worker)
        return Claim(history, session.characters_per_token)

    async def finish(self, ending: Ending) -> bool:
        for session in self._sessions.values():
            if session.current and session.current.record.id == ending.turn_id:
                session.close(session.current, ending, now())
                return True
        return False

    async def renew(self, worker: str) -> Sequence[str]:
        self._seen[worker] = self._clock()
        return [
            turn.record.id
            for turn in self._all_turns()
            if turn.worker == worker and turn.is_to_stop and turn.record.outcome is None
        ]

    async def retire(self, worker: str) -> None:
        self._seen.pop(worker, None)

    def _is_alive(self, worker: str) -> bool:
        seen = self._seen.get(worker)
        return seen is not None and self._clock() - seen < self._lease_seconds

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
    appointments: AppointmentStore
    profiles: ProfileStore
    showrooms: ShowroomStore

    async def ping(self) -> None:
        """There is nothing to reach."""

    async def close(self) -> None:
        """There is nothing to close."""


def memory_stores(*, lease_seconds: float) -> MemoryStores:
    seed = read_seed()
    return MemoryStores(
        MemorySessions(lease_seconds=lease_seconds),
        MemoryAppointments(),
        MemoryProfiles(seed.profiles),
        MemoryShowrooms(seed.showroom),
    )
