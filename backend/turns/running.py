"""The turns that run on this worker: look-ups, free slots, and the drain."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress

from backend.domain.conversation import Outcome
from backend.domain.errors import Draining, Overloaded, ServerDraining
from backend.storage.ports.sessions import Ending
from backend.telemetry import metrics
from backend.turns.turn_task import TurnStore, TurnTask


class RunningTurns:
    """Turns from their start until their task is done. Each holds one of `max_streams` slots.

    `keep_unstored` is called with each ending that a store refused, and that store.
    """

    def __init__(
        self, max_streams: int, *, keep_unstored: Callable[[Ending, TurnStore], None]
    ) -> None:
        self._max_streams = max_streams
        self._keep_unstored = keep_unstored
        self._by_id: dict[str, TurnTask] = {}
        self._by_session: dict[tuple[str, str], dict[str, TurnTask]] = {}
        self._is_closing = False
        self._is_hurried = asyncio.Event()
        metrics.slots_free(max_streams)

    def __iter__(self) -> Iterator[TurnTask]:
        return iter(self._by_id.values())

    @property
    def free_slots(self) -> int:
        return self._max_streams - len(self._by_id)

    def check_room(self) -> None:
        """Check that a turn may start now. Raises: Draining, Overloaded."""
        if self._is_closing:
            raise Draining
        if self.free_slots <= 0:
            raise Overloaded

    def add(self, turn: TurnTask) -> None:
        new = turn.new
        self._by_id[new.id] = turn
        self._by_session.setdefault((new.owner, new.session_id), {})[new.id] = turn
        metrics.slots_free(self.free_slots)
        turn.task.add_done_callback(lambda _: self._remove(turn))

    def _remove(self, turn: TurnTask) -> None:
        session = turn.new.owner, turn.new.session_id
        del self._by_id[turn.new.id]
        del self._by_session[session][turn.new.id]
        if not self._by_session[session]:
            del self._by_session[session]
        metrics.slots_free(self.free_slots)
        if turn.unstored is not None:
            self._keep_unstored(turn.unstored, turn.sessions)

    def get(self, turn_id: str) -> TurnTask | None:
        return self._by_id.get(turn_id)

    def of_owner(self, owner: str, turn_id: str) -> TurnTask | None:
        turn = self._by_id.get(turn_id)
        return turn if turn is not None and turn.new.owner == owner else None

    def of_session(self, owner: str, session_id: str) -> list[TurnTask]:
        """The session's turns: at most one holds it, others may wait for their claim."""
        return list(self._by_session.get((owner, session_id), {}).values())

    def with_key(self, owner: str, session_id: str, key: str) -> TurnTask | None:
        turns = self.of_session(owner, session_id)
        return next((turn for turn in turns if turn.new.idempotency_key == key), None)

    def is_claimed(self, owner: str, session_id: str) -> bool:
        return any(turn.is_claimed for turn in self.of_session(owner, session_id))

    async def end_unread(self, owner: str, session_id: str) -> None:
        """End this worker's turns of the session that have no readers, and wait for it."""
        for turn in self.of_session(owner, session_id):
            if await turn.readers.is_unread():
                await turn.stop_and_wait(Outcome.DISCONNECTED)

    async def drain(self, *, accept_seconds: float, drain_seconds: float) -> None:
        """Accept turns for `accept_seconds`, then refuse them; return when none runs.

        Turns that still run `drain_seconds` after that end with the error `server_draining`.
        """
        await self._wait(accept_seconds)
        self._is_closing = True
        late = asyncio.create_task(self._stop_late(drain_seconds))
        while self._by_id:
            await asyncio.wait([turn.task for turn in self])
            # Callbacks of the finished tasks remove their turns. Let them run before looking again.
            await asyncio.sleep(0)
        late.cancel()

    async def _stop_late(self, seconds: float) -> None:
        await self._wait(seconds)
        for turn in self:
            turn.stop(Outcome.CANCELLED, ServerDraining())

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._is_hurried.wait()

    def hurry(self) -> None:
        """End all waits of a drain immediately."""
        self._is_hurried.set()
