"""Repeats of a query under one `Idempotency-Key`.

The store knows only keys whose turn was claimed. Until then whoever comes with the same key to
this worker waits here, and gets what the first gets.
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
    """An idempotency key counts in its session."""

    owner: str
    session_id: str
    key: str


class _First(NamedTuple):
    query: str
    started: asyncio.Future[Started]


class Repeats:
    """Starts of turns, one at a time for each key."""

    def __init__(self, sessions: SessionStore, running: RunningTurns, replays: Replays) -> None:
        self._sessions = sessions
        self._running = running
        self._replays = replays
        self._starting: dict[Key, _First] = {}

    async def start(self, key: Key, new: NewTurn, begin: Begin) -> Follower:
        """Follow the turn that the key has started, is starting here, or starts now.

        Raises what `begin` or the claim raises, for the first who comes and for all who come
        meanwhile.

        Raises:
            KeyReused: the key belongs to another query.
            TurnNotFound: its session was deleted in this moment.
        """
        found: Started | None = self._running.with_key(*key)
        if found is None:
            found = await self._once(key, new.query, begin)
        if isinstance(found, TurnTask):
            try:
                return await found.join(new)
            except AlreadyStarted:  # by another worker, in this very moment
                found = await self._sessions.turn_with_key(*key)
        if found is None:
            raise TurnNotFound
        if found.query != new.query:
            raise KeyReused
        return self._replays.read(new.owner, found)

    async def _once(self, key: Key, query: str, begin: Begin) -> Started:
        """If the first is cancelled, one of those who wait starts in its place."""
        while first := self._starting.get(key):
            if first.query != query:
                raise KeyReused
            # Not `await first.started`: that would raise its cancellation as if it were ours.
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
        except BaseException as error:  # all who wait for the start get what it failed with
            started.set_exception(error)
            started.exception()  # marked as seen: perhaps nobody waits
            raise
        else:
            started.set_result(result)
            return result
        finally:
            del self._starting[key]
