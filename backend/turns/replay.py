"""The logs of turns that this worker does not run: stored ones, and ones that will be.

A turn that runs on another worker is waited for. Its followers read along if the logs are
shared; if not, they get heartbeats, and at its end what they missed.
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
from backend.storage.ports.sessions import SessionStore, StoredTurn
from backend.telemetry import tracing
from backend.turns.event_log import EventLog, Follower, Lost, Place
from backend.turns.shared_logs import SharedLogs

logger = structlog.get_logger()

LOOK_SECONDS = 1.0
"""Between two looks which of the turns on other workers have ended: one query for all."""


class Replays:
    """`came` is called when somebody begins to wait for a turn of another worker."""

    def __init__(
        self,
        sessions: SessionStore,
        *,
        shared_logs: SharedLogs | None = None,
        look_seconds: float = LOOK_SECONDS,
        came: Callable[[], None] = lambda: None,
    ) -> None:
        self._sessions = sessions
        self._shared_logs = shared_logs
        self._look_seconds = look_seconds
        self._came = came
        self._awaited: dict[EventLog, str] = {}
        """The owners of logs whose turns run elsewhere."""
        self._looking: asyncio.Task[None] | None = None
        self._is_closed = False

    @property
    def followed(self) -> frozenset[str]:
        """The turns of other workers that somebody follows here."""
        return frozenset(log.turn_id for log in self._awaited if not log.is_unfollowed)

    async def follow(
        self, owner: str, turn_id: str, *, after: Place, session_id: str | None = None
    ) -> Follower:
        """Everything behind a place, in one transaction if the turn has ended.

        Raises:
            TurnNotFound: there is none in this session, if one is given, or it is somebody else's.
            LogGone: it ended too long ago.
            PastTheEnd: it has no such place.
        """
        turn = await self._sessions.turn_with_log(owner, turn_id)
        if session_id not in (None, turn.record.session_id):
            raise TurnNotFound
        return self.read(owner, turn, after=after)

    def read(self, owner: str, turn: StoredTurn, *, after: Place = 0) -> Follower:
        """The same of a turn that was looked up. Raises: LogGone, PastTheEnd."""
        tracing.link_to_turn(turn.record.id, turn.record.traceparent)
        if turn.is_running:
            return self._await(owner, turn, after)
        rest = _rest(turn, after)
        log = _log_of(turn, after)
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
            for log in [log for log in self._awaited if log.is_closed]:
                self._let_go(log)
            try:
                await self._look()
            except StorageError as error:
                logger.warning("turns_not_looked_up", error=str(error))
            except Exception:  # a defect of one look must not end all later ones
                logger.exception("turns_not_looked_up")

    async def _look(self) -> None:
        running = await self._sessions.running({log.turn_id for log in self._awaited})
        for log, owner in list(self._awaited.items()):
            if log.turn_id not in running:
                await self._finish(owner, log)

    async def _finish(self, owner: str, log: EventLog) -> None:
        """Append the rest of a turn that has ended."""
        try:
            turn = await self._sessions.turn_with_log(owner, log.turn_id)
            if turn.is_running:
                return  # its worker was late, and lives
            self._let_go(log)  # from here on nothing comes but from the store
            rest = _rest(turn, log.last)
        except Refusal as error:  # it was deleted, or forgotten, or has no such place
            self._break_off(log, error)
            return
        except BaseException:
            # Its readers are not forgotten: there is another look, or the closing notice.
            self._awaited[log] = owner
            raise
        if log.is_closed:  # by the shared logs, while the store was asked
            return
        if rest.events:
            rest.append_to(log)
        else:
            # It was read to its end before that was stored. Every stream has an `end`.
            log.break_off([End()])

    async def close(self) -> None:
        """Let go of those who wait, now and later: they can read on elsewhere."""
        # First, since this waits for a look that may be in the middle of a turn: readers that come
        # from now on are sent away, and the cancelled look puts back the log that it had taken out.
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
    """The events that a reader still misses of a turn that has ended.

    In place of a lost log it is all that readers get: a follower knows how much of that it has.
    """

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
    """Raises: LogGone, PastTheEnd."""
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
        raise LogGone from error  # a version wrote it whose events have other shapes


def _stands_in(events: Sequence[Logged]) -> bool:
    """Whether a log says only that it could not be stored. Its readers may have read more."""
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
