"""The logs of turns that this worker does not run: stored ones, and ones that will be.

A turn that runs on another worker is waited for; its followers get heartbeats meanwhile,
and then what they missed.
"""

import asyncio

import msgspec

from backend.conversation import TurnRecord
from backend.errors import LogGone, StorageError, WorkerLost
from backend.events import End, Event, failure
from backend.log import EventLog, Follower
from backend.storage import WORKER_LOST, SessionStore

LOOK_SECONDS = 1.0
"""Between two looks whether a turn on another worker has ended."""

_decode = msgspec.json.Decoder(list[Event]).decode


class Replays:
    def __init__(self, sessions: SessionStore, *, look_seconds: float = LOOK_SECONDS) -> None:
        self._sessions = sessions
        self._look_seconds = look_seconds
        self._waiting: set[asyncio.Task[None]] = set()

    async def follow(self, owner: str, turn_id: str, *, after: int) -> Follower:
        """Everything behind position `after`.

        Raises:
            TurnNotFound: there is none, or it is somebody else's.
            LogGone: it ended too long ago.
        """
        turn = await self._sessions.settle(owner, turn_id)
        if turn.outcome is not None:
            return self._finished(turn, await self._events(owner, turn, after), after)
        return self._awaited(owner, turn_id, after)

    async def is_read(self, owner: str, turn_id: str, *, after: int) -> bool:
        """Whether nothing comes behind position `after` any more."""
        turn = await self._sessions.settle(owner, turn_id)
        return turn.outcome is not None and not await self._events(owner, turn, after)

    async def _events(self, owner: str, turn: TurnRecord, after: int) -> list[Event]:
        """Those behind a position. What was lost ends with an error, wherever one had read to."""
        log = await self._sessions.turn_log(owner, turn.id)
        if log is not None:
            events = _decode(log)
            # One that is shorter than what was read could not be stored whole.
            return events if after > len(events) else events[after:]
        if turn.error_code == WORKER_LOST:
            return [failure(WorkerLost()), End()]
        raise LogGone

    def _finished(self, turn: TurnRecord, events: list[Event], after: int) -> Follower:
        log = EventLog(turn.id, begins_after=after)
        follower = log.follow(after)
        for event in events:
            log.append(event)
        log.close()
        return follower

    def _awaited(self, owner: str, turn_id: str, after: int) -> Follower:
        log = EventLog(turn_id, begins_after=after, deserted=lambda: _cancel(waiting))
        follower = log.follow(after)
        waiting = asyncio.create_task(self._await(owner, turn_id, log, after))
        self._waiting.add(waiting)
        waiting.add_done_callback(self._waiting.discard)
        return follower

    async def _await(self, owner: str, turn_id: str, log: EventLog, after: int) -> None:
        try:
            events = await self._ended(owner, turn_id, after)
        except Exception as error:  # noqa: BLE001 - whatever it is, the stream must end
            known = error if isinstance(error, StorageError | LogGone) else StorageError()
            events = [failure(known), End()]
        for event in events:
            log.append(event)
        log.close()

    async def _ended(self, owner: str, turn_id: str, after: int) -> list[Event]:
        while True:
            await asyncio.sleep(self._look_seconds)
            turn = await self._sessions.settle(owner, turn_id)
            if turn.outcome is not None:
                return await self._events(owner, turn, after)

    async def close(self) -> None:
        """Let go of those who wait."""
        for task in self._waiting:
            task.cancel()
        if self._waiting:
            await asyncio.wait(self._waiting)


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
