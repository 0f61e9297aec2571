"""The logs of turns that this worker does not run: stored ones, and ones that will be.

A turn that runs on another worker is waited for. Its followers read along if the logs are
shared; if not, they get heartbeats, and at its end what they missed.
"""

import asyncio
from collections.abc import Sequence

import msgspec
import structlog

from backend.conversation import TurnRecord
from backend.errors import LogGone, Refusal, ServerDraining, StorageError, WorkerLost
from backend.events import End, Event, decode, failure
from backend.log import EventLog, Follower
from backend.sharing import Sharing
from backend.storage.ports.sessions import WORKER_LOST, SessionStore
from backend.telemetry import tracing

logger = structlog.get_logger()

LOOK_SECONDS = 1.0
"""Between two looks which of the turns on other workers have ended: one query for all."""

LOST = 900_000_000
"""Positions behind this are of no log: they say that the rest of one is lost."""


class Replays:
    def __init__(
        self,
        sessions: SessionStore,
        *,
        sharing: Sharing | None = None,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._sessions = sessions
        self._sharing = sharing
        self._look_seconds = look_seconds
        self._awaited: dict[EventLog, str] = {}
        """The owners of logs whose turns run elsewhere."""
        self._looking: asyncio.Task[None] | None = None
        self._is_closed = False

    @property
    def followed(self) -> frozenset[str]:
        """The turns of other workers that somebody follows here."""
        return frozenset(log.turn_id for log in self._awaited if not log.is_deserted)

    async def follow(self, owner: str, turn_id: str, *, after: int) -> Follower:
        """Everything behind position `after`.

        Raises:
            TurnNotFound: there is none, or it is somebody else's.
            LogGone: it ended too long ago.
        """
        turn = await self._sessions.settle(owner, turn_id)
        tracing.concerns(turn_id, turn.traceparent)
        if turn.outcome is None:
            return self._await(owner, turn_id, after)
        begins_after, events = await self._rest(owner, turn, after)
        log = EventLog(turn_id, begins_after=begins_after)
        follower = log.follow(after)
        _fill(log, events)
        return follower

    async def is_read(self, owner: str, turn_id: str, *, after: int) -> bool:
        """Whether nothing comes behind position `after` any more."""
        turn = await self._sessions.settle(owner, turn_id)
        return turn.outcome is not None and not (await self._rest(owner, turn, after))[1]

    async def _rest(self, owner: str, turn: TurnRecord, after: int) -> tuple[int, list[Event]]:
        """What stands behind a position, and behind which one it begins.

        A reader who has read further than the log goes, or of a turn that has none, is told
        once that the rest is lost.
        """
        if after > LOST:
            return after, []
        log = await self._sessions.turn_log(owner, turn.id)
        if log is None and turn.error_code != WORKER_LOST:
            raise LogGone
        try:
            events = [] if log is None else decode(log)
        except msgspec.MsgspecError as error:
            raise LogGone from error  # another version wrote it
        if log is not None and after <= len(events):
            return after, events[after:]
        return LOST, [failure(WorkerLost()), End()]

    def _await(self, owner: str, turn_id: str, after: int) -> Follower:
        log = EventLog(turn_id, begins_after=after, deserted=lambda: self._let_go(log))
        follower = log.follow(after)
        self._awaited[log] = owner
        if self._sharing is not None:
            self._sharing.fill(log)
        if self._is_closed:
            self._say_farewell(log)
        elif self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_on())
        return follower

    def _let_go(self, log: EventLog) -> None:
        self._awaited.pop(log, None)
        if self._sharing is not None:
            self._sharing.leave(log)

    async def _look_on(self) -> None:
        while self._awaited:
            await asyncio.sleep(self._look_seconds)
            for log in [log for log in self._awaited if log.is_closed]:
                self._let_go(log)
            try:
                await self._look()
            except StorageError as error:
                logger.warning("turns_not_looked_up", error=str(error))
            except Exception:
                logger.exception("turns_not_looked_up")

    async def _look(self) -> None:
        running = await self._sessions.running({log.turn_id for log in self._awaited})
        for log, owner in list(self._awaited.items()):
            if log.turn_id not in running:
                await self._finish(owner, log)

    async def _finish(self, owner: str, log: EventLog) -> None:
        """Append the rest of a turn that has ended."""
        try:
            turn = await self._sessions.settle(owner, log.turn_id)
            if turn.outcome is None:
                return  # its worker was late, and lives
            self._let_go(log)  # from here on nothing comes but from the store
            position, events = await self._rest(owner, turn, log.last)
        except Refusal as error:  # it was deleted, or forgotten
            self._let_go(log)
            position, events = log.last, [failure(error), End()]
        except BaseException:
            # Whoever waits for it is not forgotten: there is another look, or the farewell.
            self._awaited[log] = owner
            raise
        if not log.is_closed:
            log.skip_to(position)
            _fill(log, events)

    async def close(self) -> None:
        """Let go of those who wait, now and later: they can read on elsewhere."""
        self._is_closed = True
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])
        for log in list(self._awaited):
            self._say_farewell(log)

    def _say_farewell(self, log: EventLog) -> None:
        self._let_go(log)
        if not log.is_closed:
            log.break_off([failure(ServerDraining()), End()])


def _fill(log: EventLog, events: Sequence[Event]) -> None:
    for event in events:
        log.append(event)
    log.close()
