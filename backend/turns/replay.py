"""Follow turns that this worker does not run: finished ones, and those of other workers.

Finished turns are replayed from the session store. Followers of another worker's turn read its
shared log. Without one they get heartbeats until the turn ends, and then the events that they miss.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import structlog

from backend.aio.tasks import cancel_and_wait
from backend.domain.errors import (
    InvalidField,
    LogGone,
    PastTheEnd,
    Refusal,
    ServerDraining,
    StorageError,
    TurnNotFound,
    WorkerLost,
)
from backend.domain.events import End, Failure, Logged, Unknown, decode, failure
from backend.domain.turn_keys import TurnKey
from backend.storage.ports.sessions import SessionStore, StoredTurn
from backend.telemetry import identity, tracing
from backend.turns.event_log import EventLog, Follower, Lost, Place
from backend.turns.first_chunk import FirstChunk
from backend.turns.shared_logs import SharedLogs

logger = structlog.get_logger()

LOOK_SECONDS = 1.0
"""The interval at which one query asks which of the awaited turns have ended."""


class Replays:
    """Followers of turns that this worker does not run.

    `came` is called when a follower begins to wait for a turn of another worker. `first_chunk_of`
    knows the finished turns of this worker whose client has not got its first chunk.
    """

    def __init__(
        self,
        sessions: SessionStore,
        *,
        shared_logs: SharedLogs | None = None,
        look_seconds: float = LOOK_SECONDS,
        came: Callable[[], None] = lambda: None,
        first_chunk_of: Callable[[str], FirstChunk | None] = lambda _: None,
    ) -> None:
        self._sessions = sessions
        self._shared_logs = shared_logs
        self._look_seconds = look_seconds
        self._came = came
        self._first_chunk_of = first_chunk_of
        self._awaited: dict[EventLog, str] = {}
        """Logs of turns on other workers, with the owners of these turns."""
        self._looking: asyncio.Task[None] | None = None
        self._is_closed = False

    @property
    def followed(self) -> frozenset[TurnKey]:
        """Other workers' turns that have followers on this worker."""
        return frozenset(
            TurnKey(owner, log.turn_id)
            for log, owner in self._awaited.items()
            if not log.is_unfollowed
        )

    async def follow(
        self, owner: str, turn_id: str, *, after: Place, session_id: str | None = None
    ) -> Follower:
        """Follow everything after a place. A finished turn takes one transaction.

        Raises: TurnNotFound, LogGone, PastTheEnd, as `Turns.follow` explains.
        """
        turn = await self._sessions.turn_with_log(owner, turn_id)
        if session_id not in (None, turn.record.session_id):
            raise TurnNotFound
        return self.read(owner, turn, after=after)

    def read(self, owner: str, turn: StoredTurn, *, after: Place = 0) -> Follower:
        """Follow a turn that the caller has looked up. Raises: LogGone, PastTheEnd."""
        identity.note_session(turn.record.session_id)
        tracing.link_to_turn(turn.record.id, turn.record.traceparent)
        if turn.is_running:
            return self._await(owner, turn, after)
        rest = _rest(turn, after)
        log = _log_of(turn, after)
        log.first_chunk = self._first_chunk_of(turn.record.id)
        follower = log.follow(after)
        rest.append_to(log)
        return follower

    def _await(self, owner: str, turn: StoredTurn, after: Place) -> Follower:
        if isinstance(after, Lost):
            raise PastTheEnd
        log = _log_of(turn, after, unfollowed=lambda: self._let_go(log))
        follower = log.follow(after)
        self._awaited[log] = owner
        if self._shared_logs is not None:
            self._shared_logs.fill(log)
        if self._is_closed:
            self._break_off(log, ServerDraining())
        elif self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_on())
        self._came()
        return follower

    def _let_go(self, log: EventLog) -> None:
        self._awaited.pop(log, None)
        if self._shared_logs is not None:
            self._shared_logs.leave(log)

    async def _look_on(self) -> None:
        while self._awaited:
            await asyncio.sleep(self._look_seconds)
            # The shared logs have delivered the end of these: the store need not be asked.
            for log in [log for log in self._awaited if log.is_closed]:
                self._let_go(log)
            try:
                await self._look()
            except StorageError as error:
                logger.warning("turns_not_looked_up", error=str(error))
            except Exception:  # one failed look must not end the loop
                logger.exception("turns_not_looked_up")

    async def _look(self) -> None:
        awaited = {TurnKey(owner, log.turn_id) for log, owner in self._awaited.items()}
        running = await self._sessions.running(awaited)
        for log, owner in list(self._awaited.items()):
            if log.turn_id not in running:
                await self._finish(owner, log)

    async def _finish(self, owner: str, log: EventLog) -> None:
        """Append the rest of a finished turn and close its log."""
        try:
            turn = await self._sessions.turn_with_log(owner, log.turn_id)
            if turn.is_running:
                return  # its worker renewed its lease late, but lives
            self._let_go(log)  # the shared log must not append to it from here on
            rest = _rest(turn, log.last)
        except Refusal as error:  # the turn or its log was deleted, or it has no such place
            self._break_off(log, error)
            return
        except BaseException:
            # Keep its followers: the next look serves them, or `close` sends them the notice.
            self._awaited[log] = owner
            raise
        if log.is_closed:  # the shared log delivered the end while the store was asked
            return
        if rest.events:
            rest.append_to(log)
        else:
            # The follower had every event already. Its stream must still finish with `end`.
            log.break_off([End()])

    async def close(self) -> None:
        """Send a closing notice to all waiting followers, and to those that come later.

        They can resume on another worker.
        """
        # Set before the wait below: followers that arrive during it must get the notice.
        self._is_closed = True
        if self._looking is not None:
            await cancel_and_wait([self._looking])
        for log in list(self._awaited):
            self._break_off(log, ServerDraining())

    def _break_off(self, log: EventLog, error: Refusal | ServerDraining) -> None:
        self._let_go(log)
        if not log.is_closed:
            field = f"{error.field}: " if isinstance(error, InvalidField) else ""
            log.break_off([failure(error, field + str(error)), End()])


@dataclass(frozen=True, slots=True)
class _Rest:
    """The events of a finished turn that a follower misses; for a lost log, all replacements."""

    events: Sequence[Logged]
    is_of_lost: bool = False

    def append_to(self, log: EventLog) -> None:
        if self.is_of_lost:
            log.lose_rest([event for event in self.events if not isinstance(event, Unknown)])
            return
        for event in self.events:
            log.append(event)
        log.close()


def _rest(turn: StoredTurn, after: Place) -> _Rest:
    """Return what a follower at this place misses. Raises: LogGone, PastTheEnd."""
    events: list[Logged] = [failure(WorkerLost()), End()] if turn.is_lost else _events(turn)
    if turn.is_lost or _stands_in(events):
        if isinstance(after, Lost) and after.number > len(events):
            raise PastTheEnd
        return _Rest(events, is_of_lost=True)
    if isinstance(after, Lost) or after > len(events):
        raise PastTheEnd
    return _Rest(events[after:])


def _events(turn: StoredTurn) -> list[Logged]:
    if turn.log is None:
        raise LogGone
    try:
        return decode(turn.log)
    except msgspec.MsgspecError as error:
        raise LogGone from error  # another version wrote it, with events of other shapes


def _stands_in(events: Sequence[Logged]) -> bool:
    """Whether a log replaces one that could not be stored, and that followers may have read."""
    match events:
        case [Failure(code=StorageError.code), *_]:
            return True
    return False


def _log_of(
    turn: StoredTurn, after: Place, *, unfollowed: Callable[[], None] = lambda: None
) -> EventLog:
    return EventLog(
        turn.record.id,
        unfollowed,
        begins_after=0 if isinstance(after, Lost) else after,
        session_id=turn.record.session_id,
    )
