"""Sessions, their turns and messages, and the leases of workers, in dicts."""

import time as system_time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import chain

from backend.domain.conversation import Message, Outcome, Session, TurnRecord, now
from backend.domain.errors import NothingToReplace, SessionBusy, SessionNotFound, TurnNotFound
from backend.domain.turn_keys import TurnKey
from backend.domain.usage import ModelCall
from backend.storage.history import Window, given_messages
from backend.storage.memory.records import KeptSession, KeptTurn, Untold
from backend.storage.memory.usage import MemoryUsage
from backend.storage.message_numbers import numbered
from backend.storage.ports.appointments import BookedBy, Booking
from backend.storage.ports.sessions import (
    LOST_AFTER_LEASES,
    WORKER_LOST,
    AlreadyStarted,
    Claim,
    Earlier,
    Ending,
    Holder,
    NewTurn,
    SessionPlace,
    StopRequest,
    StoredMessage,
    StoredTurn,
    place_of,
)
from backend.storage.ports.side_effects import ClaimLost
from backend.storage.ports.store_time import ClockDoubt, StoreTime
from backend.storage.turn_journal import with_output


class MemorySessions:
    def __init__(
        self,
        *,
        lease_seconds: float,
        clock: Callable[[], float] = system_time.monotonic,
        wall_clock: Callable[[], datetime] = now,
    ) -> None:
        self._lease_seconds = lease_seconds
        self.clock = clock
        self._now = wall_clock
        self._sessions: dict[tuple[str, str], KeptSession] = {}
        self._seen: dict[str, float] = {}
        self.usage = MemoryUsage()
        self.bookings: dict[str, list[Booking]] = {}
        """By the id of the turn that made them."""

    async def create(self, owner: str, session_id: str) -> Session:
        return self._found_or_made(owner, session_id).shown

    async def get(self, owner: str, session_id: str) -> Session:
        return self._repaired(owner, session_id).shown

    async def of_owner(
        self, owner: str, *, after: SessionPlace | None = None, limit: int
    ) -> Sequence[Session]:
        mine = [key for key in self._sessions if key[0] == owner]
        found = sorted((self._repaired(*key).shown for key in mine), key=place_of, reverse=True)
        return [session for session in found if after is None or place_of(session) < after][:limit]

    async def rename(self, owner: str, session_id: str, *, title: str | None) -> None:
        kept = self._found(owner, session_id)
        kept.session = replace(kept.session, title=title)

    async def delete(self, owner: str, session_id: str) -> None:
        self._repaired(owner, session_id)
        del self._sessions[owner, session_id]

    async def messages(
        self, owner: str, session_id: str, *, after: int = 0, limit: int | None = None
    ) -> Sequence[StoredMessage]:
        behind = self._repaired(owner, session_id).messages[after:]
        return behind[:limit]

    async def turns(self, owner: str, session_id: str) -> Sequence[TurnRecord]:
        return [turn.record for turn in self._repaired(owner, session_id).turns]

    async def turn(self, owner: str, turn_id: str) -> TurnRecord:
        turn = self._found_turn(owner, turn_id)
        self._repaired(owner, turn.record.session_id)
        return turn.record

    async def turn_with_log(self, owner: str, turn_id: str) -> StoredTurn:
        turn = self._found_turn(owner, turn_id)
        self._repaired(owner, turn.record.session_id)
        return StoredTurn(replace(turn.record, traceparent=turn.traceparent), turn.log)

    async def turn_with_key(self, owner: str, session_id: str, key: str) -> StoredTurn | None:
        session = self._sessions.get((owner, session_id))
        turn = None if session is None else session.turn_with_key(key)
        if session is None or turn is None:
            return None
        stored = await self.turn_with_log(owner, turn.record.id)
        return replace(stored, query=turn.query)

    async def time(self, worker: str) -> StoreTime:  # noqa: ARG002 - all workers are this one
        return StoreTime(self._now(), is_own_clock=True)

    async def close_lost(self) -> int:
        lost_after_seconds = LOST_AFTER_LEASES * self._lease_seconds
        return sum(
            self._close_if_lost(session, lost_after_seconds) for session in self._sessions.values()
        )

    async def doubt_clock(self, doubt: ClockDoubt) -> None:
        """Does nothing: there are no other workers."""

    async def mark_clock(self, uptime_seconds: float) -> None:
        """Does nothing: this store never outlives its worker."""

    async def purge_logs(self, *, kept_seconds: float) -> None:
        for turn in self._all_turns():
            if turn.record.finished_at and self._is_old(turn.record.finished_at, kept_seconds):
                turn.log = None

    async def purge_sessions(self, *, kept_seconds: float) -> None:
        for key, kept in list(self._sessions.items()):
            is_held = kept.current and self._is_alive(kept.current.worker)
            at = kept.session.last_turn_at or kept.session.created_at
            if not is_held and self._is_old(at, kept_seconds):
                del self._sessions[key]

    def _is_old(self, at: datetime, kept_seconds: float) -> bool:
        return (self._now() - at).total_seconds() > kept_seconds

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

    async def running(self, turns: Collection[TurnKey]) -> frozenset[str]:
        turn_ids = {turn.id for turn in turns}
        return frozenset(
            turn.record.id
            for turn in self._all_turns()
            if turn.record.id in turn_ids
            and turn.record.outcome is None
            and self._is_alive(turn.worker)
        )

    async def is_followed(self, turn: TurnKey) -> bool:
        return any(
            kept.record.id == turn.id and self._is_lately(kept.followed_at)
            for kept in self._all_turns()
        )

    async def claim(
        self, turn: NewTurn, *, history_tokens: int, beside_characters: int = 0
    ) -> Claim:
        session = self._claimable(turn)
        if turn.idempotency_key and (known := session.turn_with_key(turn.idempotency_key)):
            raise AlreadyStarted(known.record.id)
        if session.current:
            if self._is_alive(session.current.worker):
                raise SessionBusy
            session.close_lost(session.current, self._now())
        if turn.replaces is not None:
            session.take_back(session.first_of(turn.replaces))
            session.untold = None  # voids the claim of a worker that summarizes what is gone
        room = history_tokens * session.characters_per_token - beside_characters
        window = session.window(room)
        session.open(turn, self._now())
        session.untold = (session.untold or Untold(0)).again(
            self.clock(), is_wanted=window.wants_summary
        )
        self._seen[turn.worker] = self.clock()
        return Claim(window.history, session.characters_per_token, self._earlier(session, window))

    def _claimable(self, turn: NewTurn) -> KeptSession:
        """Return the session, which is made if it may be."""
        known = self._sessions.get((turn.owner, turn.session_id))
        if known is not None:
            return known
        if not turn.creates_session:
            raise SessionNotFound
        if turn.replaces is not None:
            raise NothingToReplace
        made = self._found_or_made(turn.owner, turn.session_id)
        given = given_messages(turn.given, made.session.created_at)
        made.messages.extend(numbered(given, before=0))
        return made

    def _earlier(self, session: KeptSession, window: Window) -> Earlier:
        """Return what the history does not tell. The turn that claims is the session's last."""
        in_history = frozenset(window.turn_ids)
        bookings = tuple(
            booking
            for turn in session.turns
            if turn.record.id not in in_history
            for booking in self.bookings.get(turn.record.id, ())
        )
        return Earlier(summary=window.cut.summary.text, bookings=bookings, is_given=window.is_given)

    async def finish(self, ending: Ending) -> bool:
        for (owner, _), session in self._sessions.items():
            if session.current and session.current.record.id == ending.turn_id:
                self.usage.enter_on(self._now().date(), owner, ending.calls)
                session.close(session.current, ending, self._now())
                untold = session.untold or Untold(0)
                session.untold = untold.again(self.clock(), is_wanted=untold.is_wanted)
                return True
        return ending.may_be_stored and self._amend(ending)

    def _amend(self, ending: Ending) -> bool:
        """Replace the log of a turn that an earlier attempt has ended."""
        for turn in self._all_turns():
            record = turn.record
            if record.id == ending.turn_id and record.outcome and record.error_code != WORKER_LOST:
                turn.log = ending.log if turn.log is not None else None
                return True
        return False

    def enter(self, owner: str, session_id: str, calls: Sequence[ModelCall]) -> None:
        """Enter the calls for a summary into the ledger."""
        self.usage.enter_on(self._now().date(), owner, calls)
        if session := self._sessions.get((owner, session_id)):
            session.spend(calls)

    async def renew(
        self, worker: str, *, unfollowed: Collection[str] = (), followed: Collection[TurnKey] = ()
    ) -> Sequence[StopRequest]:
        self._seen[worker] = self.clock()
        followed_ids = {turn.id for turn in followed}
        requests = []
        for turn in self._all_turns():
            turn_id = turn.record.id
            if turn_id in followed_ids:
                turn.followed_at = self.clock()
            if turn.worker == worker and turn.record.outcome is None:
                turn.is_unfollowed = turn_id in unfollowed
                # A follower came back: withdraw the request to give way, but not a cancellation.
                if turn.stop_as is Outcome.DISCONNECTED and not turn.is_unfollowed:
                    turn.stop_as = None
                if turn.stop_as is not None:
                    requests.append(StopRequest(turn_id, turn.stop_as))
        return requests

    async def renew_lease(self, worker: str) -> None:
        self._seen[worker] = self.clock()

    async def live_workers(self) -> int:
        return sum(map(self._is_lately, self._seen.values()))

    async def retire(self, worker: str) -> None:
        self._seen.pop(worker, None)

    def note(self, by: BookedBy, booking: Booking) -> None:
        """Add the booking to the turn and its journal."""
        turn = self.held(by.call.turn.id)
        booked = self.bookings.setdefault(by.call.turn.id, [])
        if booking.turn_id == by.call.turn.id and booking not in booked:
            booked.append(booking)
        output = Message.tool(by.call.call, by.output_of(booking))
        turn.journal = with_output(by.call.messages, output, kept=turn.journal)

    def held(self, turn_id: str) -> KeptTurn:
        """Raises: ClaimLost, if the turn does not hold its session."""
        for session in self._sessions.values():
            if session.current and session.current.record.id == turn_id:
                return session.current
        raise ClaimLost

    def untold(self) -> Iterator[tuple[str, KeptSession, Untold]]:
        """Yield the sessions, with their owners, that need a summary."""
        for (owner, _), session in self._sessions.items():
            if session.untold:
                yield owner, session, session.untold

    def is_held(self, session: KeptSession) -> bool:
        return session.current is not None and self._is_alive(session.current.worker)

    def _repaired(self, owner: str, session_id: str) -> KeptSession:
        session = self._found(owner, session_id)
        self._close_if_lost(session, self._lease_seconds)
        return session

    def _close_if_lost(self, session: KeptSession, lost_after_seconds: float) -> bool:
        if session.current is None:
            return False
        seen_at = self._seen.get(session.current.worker)
        if seen_at is not None and self.clock() - seen_at < lost_after_seconds:
            return False
        if session.close_lost(session.current, self._now()):
            session.untold = Untold(self.clock())
        return True

    def _is_alive(self, worker: str) -> bool:
        return self._is_lately(self._seen.get(worker))

    def _is_unread(self, turn: KeptTurn) -> bool:
        return turn.is_unfollowed and not self._is_lately(turn.followed_at)

    def _is_lately(self, at: float | None) -> bool:
        return at is not None and self.clock() - at < self._lease_seconds

    def _found(self, owner: str, session_id: str) -> KeptSession:
        try:
            return self._sessions[owner, session_id]
        except KeyError:
            raise SessionNotFound from None

    def _found_or_made(self, owner: str, session_id: str) -> KeptSession:
        made = KeptSession(Session(id=session_id, created_at=self._now()))
        return self._sessions.setdefault((owner, session_id), made)

    def _all_turns(self) -> Iterator[KeptTurn]:
        return chain.from_iterable(session.turns for session in self._sessions.values())

    def _found_turn(self, owner: str, turn_id: str) -> KeptTurn:
        for (session_owner, _), session in self._sessions.items():
            for turn in session.turns:
                if session_owner == owner and turn.record.id == turn_id:
                    return turn
        raise TurnNotFound
