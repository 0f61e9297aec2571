"""Start one turn per `Idempotency-Key`, however often its query is sent.

The store knows a key once its turn holds the session. Until then, repeats on the same worker wait
here, and get the result of the first request.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from backend.domain.errors import KeyReused, TurnNotFound
from backend.storage.ports.sessions import AlreadyStarted, NewTurn, SessionStore, StoredTurn
from backend.turns.event_log import Follower
from backend.turns.replay import Replays
from backend.turns.running import RunningTurns
from backend.turns.turn_task import TurnTask

Begin = Callable[[], Awaitable[TurnTask]]

Started = TurnTask | StoredTurn


class Key(NamedTuple):
    """An idempotency key, which is unique within its session."""

    owner: str
    session_id: str
    key: str


class _First(NamedTuple):
    query: str
    started: asyncio.Future[Started]


class Repeats:
    """Starts turns, one at a time for each key."""

    def __init__(self, sessions: SessionStore, running: RunningTurns, replays: Replays) -> None:
        self._sessions = sessions
        self._running = running
        self._replays = replays
        self._starting: dict[Key, _First] = {}

    async def start(self, key: Key, new: NewTurn, begin: Begin) -> Follower:
        """Follow the turn of this key: one that exists, is starting here, or starts now.

        All requests that wait get the exceptions of `begin` and of the claim.

        Raises:
            KeyReused: the key belongs to another query.
            TurnNotFound: the session was deleted in the meantime.
        """
        found: Started | None = self._running.with_key(*key)
        if found is None:
            found = await self._once(key, new.query, begin)
        if isinstance(found, TurnTask):
            try:
                return await found.join(new)
            except AlreadyStarted:  # another worker claimed the session with this key first
                found = await self._sessions.turn_with_key(*key)
        if found is None:
            raise TurnNotFound
        if found.query != new.query:
            raise KeyReused
        return self._replays.read(new.owner, found)

    async def _once(self, key: Key, query: str, begin: Begin) -> Started:
        """Start the turn, or wait for the request that is starting it.

        If that request is cancelled, one of the waiting requests starts the turn instead.
        """
        while first := self._starting.get(key):
            if first.query != query:
                raise KeyReused
            # `await first.started` would raise its cancellation as if this task were cancelled.
            await asyncio.wait([first.started])
            if not first.started.cancelled():
                return first.started.result()
        return await self._start(key, query, begin)

    async def _start(self, key: Key, query: str, begin: Begin) -> Started:
        started: asyncio.Future[Started] = asyncio.get_running_loop().create_future()
        self._starting[key] = _First(query, started)
        try:
            result = await self._sessions.turn_with_key(*key) or await begin()
        except asyncio.CancelledError:
            started.cancel()
            raise
        except BaseException as error:  # every waiting request must get it
            started.set_exception(error)
            started.exception()  # mark as retrieved: asyncio logs it otherwise if no one waits
            raise
        else:
            started.set_result(result)
            return result
        finally:
            del self._starting[key]
