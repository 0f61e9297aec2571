"""Track the readers of a turn on all workers, and end the turn when they have left."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from backend.domain.errors import PastTheEnd, StorageError
from backend.domain.turn_keys import TurnKey
from backend.turns.event_log import EventLog, Follower, Lost, Place


class FollowedTurns(Protocol):
    async def is_followed(self, turn: TurnKey) -> bool:
        """See `SessionStore.is_followed`."""
        ...


class Readers:
    """The readers of one turn's log.

    `gone` is called `grace_seconds` after the last reader has left, unless one comes back to any
    worker. `changed` is called when a turn with a grace period loses its last reader on this
    worker, or gets one back.
    """

    def __init__(
        self,
        turn: TurnKey,
        session_id: str,
        *,
        sessions: FollowedTurns,
        grace_seconds: float,
        gone: Callable[[], None],
        changed: Callable[[], None],
    ) -> None:
        self.log = EventLog(turn.id, self._unfollowed, session_id=session_id)
        self._turn = turn
        self._sessions = sessions
        self._grace_seconds = grace_seconds
        self._gone = gone
        self._changed = changed
        self._grace: asyncio.Task[None] | None = None

    def follow(self, after: Place = 0) -> Follower:
        """Add a reader of everything after this position. Raises: PastTheEnd."""
        if isinstance(after, Lost) or after > self.log.last:
            raise PastTheEnd
        if self._grace is not None:
            self._grace.cancel()
            self._changed()
        return self.log.follow(after)

    async def is_unread(self) -> bool:
        """Whether the turn has no reader on any worker."""
        return self.log.is_unfollowed and not await self._is_read_elsewhere()

    def close(self) -> None:
        """Make no more calls to `gone` and `changed`."""
        self._gone = self._changed = lambda: None
        if self._grace is not None:
            self._grace.cancel()

    def _unfollowed(self) -> None:
        if self._grace_seconds:
            self._grace = asyncio.create_task(self._wait())
            self._changed()
        else:
            self._gone()

    async def _wait(self) -> None:
        # Other workers store their readers at each renewal of their lease. When one of them
        # leaves, nothing is called here, so the grace period starts over while the store lists one.
        is_read = True
        while is_read:
            await asyncio.sleep(self._grace_seconds)
            is_read = await self._is_read_elsewhere()
        self._gone()

    async def _is_read_elsewhere(self) -> bool:
        """Ask the store. Return True on an error: an unreachable store must not end a turn."""
        try:
            return await self._sessions.is_followed(self._turn)
        except StorageError:
            return True
