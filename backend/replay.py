"""The logs of turns that this worker does not run: stored ones, and ones that will be.

A turn that runs on another worker is waited for; its followers get heartbeats meanwhile,
and then what they missed.
"""

import asyncio
from collections.abc import Sequence

import msgspec
import structlog

from backend.conversation import TurnRecord
from backend.errors import LogGone, Refusal, ServerDraining, ServiceError, StorageError, WorkerLost
from backend.events import End, Event, failure
from backend.log import EventLog, Follower
from backend.storage import WORKER_LOST, SessionStore

logger = structlog.get_logger()

LOOK_SECONDS = 1.0
"""Between two looks whether a turn on another worker has ended."""

LOST = 900_000_000
"""Positions behind this are of no log: they say that the rest of one is lost."""

_decode = msgspec.json.Decoder(list[Event]).decode


class Replays:
    def __init__(self, sessions: SessionStore, *, look_seconds: float = LOOK_SECONDS) -> None:
        self._sessions = sessions
        self._look_seconds = look_seconds
        self._waiting: set[asyncio.Task[None]] = set()
        self._is_closed = False

    async def follow(self, owner: str, turn_id: str, *, after: int) -> Follower:
        """Everything behind position `after`.

        Raises:
            TurnNotFound: there is none, or it is somebody else's.
            LogGone: it ended too long ago.
        """
        turn = await self._sessions.settle(owner, turn_id)
        if turn.outcome is None:
            return self._awaited(owner, turn_id, after)
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
        events = [] if log is None else _decode(log)
        if log is not None and after <= len(events):
            return after, events[after:]
        return LOST, [failure(WorkerLost()), End()]

    def _awaited(self, owner: str, turn_id: str, after: int) -> Follower:
        log = EventLog(turn_id, begins_after=after, deserted=lambda: _cancel(waiting))
        follower = log.follow(after)
        waiting = asyncio.create_task(self._await(owner, turn_id, log, after))
        self._waiting.add(waiting)
        waiting.add_done_callback(lambda _: self._waited(waiting, log))
        if self._is_closed:
            waiting.cancel()
        return follower

    def _waited(self, waiting: asyncio.Task[None], log: EventLog) -> None:
        """Called also for a task that was cancelled before it began."""
        self._waiting.discard(waiting)
        if log.is_closed:
            return
        error = ServerDraining() if waiting.cancelled() else ServiceError()
        if not waiting.cancelled():
            logger.error("replay_broke", turn=log.turn_id, exc_info=waiting.exception())
        log.break_off([failure(error), End()])

    async def _await(self, owner: str, turn_id: str, log: EventLog, after: int) -> None:
        try:
            log.begins_after, events = await self._ended(owner, turn_id, after)
        except Refusal as error:  # it was deleted, or forgotten
            events = [failure(error), End()]
        _fill(log, events)

    async def _ended(self, owner: str, turn_id: str, after: int) -> tuple[int, list[Event]]:
        while True:
            await asyncio.sleep(self._look_seconds)
            try:
                turn = await self._sessions.settle(owner, turn_id)
                if turn.outcome is not None:
                    return await self._rest(owner, turn, after)
            except StorageError as error:
                logger.warning("turn_not_looked_up", turn=turn_id, error=str(error))

    async def close(self) -> None:
        """Let go of those who wait, now and later: they can read on elsewhere."""
        self._is_closed = True
        for task in self._waiting:
            task.cancel()
        if self._waiting:
            await asyncio.wait(self._waiting)


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()


def _fill(log: EventLog, events: Sequence[Event]) -> None:
    for event in events:
        log.append(event)
    log.close()
