"""Who reads a turn, on this worker or another one, and how long it goes on for nobody."""

import asyncio
from collections.abc import Callable

from backend.domain.errors import PastTheEnd, StorageError
from backend.storage.ports.sessions import SessionStore
from backend.turns.event_log import EventLog, Follower, Lost, Place


class Readers:
    """The readers of the log of one turn.

    `gone` is called when nobody reads any more: at once if `grace_seconds` is 0, otherwise when
    nobody came back in that time, to whichever worker. `changed` is called when a turn that has
    a grace loses its last reader here, or is read again.
    """

    def __init__(
        self,
        turn_id: str,
        session_id: str,
        *,
        sessions: SessionStore,
        grace_seconds: float,
        gone: Callable[[], None],
        changed: Callable[[], None],
    ) -> None:
        self.log = EventLog(turn_id, self._unfollowed, session_id=session_id)
        self._sessions = sessions
        self._grace_seconds = grace_seconds
        self._gone = gone
        self._changed = changed
        self._grace: asyncio.Task[None] | None = None

    def follow(self, after: Place = 0) -> Follower:
        """Raises: PastTheEnd."""
        if isinstance(after, Lost) or after > self.log.last:
            raise PastTheEnd
        if self._grace is not None:
            self._grace.cancel()
            self._changed()
        return self.log.follow(after)

    async def is_unread(self) -> bool:
        """Whether nobody reads it, on any worker."""
        return self.log.is_unfollowed and not await self._is_read_elsewhere()

    def close(self) -> None:
        """Call nobody any more."""
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
        # A reader that came back to another worker is known by what that worker stores, and it
        # stores it at each renewal of its lease. So the grace is asked for anew, not ended.
        is_read = True
        while is_read:
            await asyncio.sleep(self._grace_seconds)
            is_read = await self._is_read_elsewhere()
        self._gone()

    async def _is_read_elsewhere(self) -> bool:
        """Also if nobody can tell: a turn must not end because the store is away."""
        try:
            return await self._sessions.is_followed(self.log.turn_id)
        except StorageError:
            return True
