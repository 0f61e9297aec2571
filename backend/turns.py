"""The turns of this worker: start, stop, and what is still owed to the store."""

import asyncio
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import structlog

from backend.conversation import Caller, Outcome
from backend.errors import Draining, Overloaded, ServerDraining, StorageError
from backend.log import Follower
from backend.replay import Replays
from backend.running import RunningTurn, bare
from backend.storage import AlreadyStarted, Ending, NewTurn, SessionStore
from backend.turn import Turn

logger = structlog.get_logger()

OpenTurn = Callable[[Caller, str], Turn]
"""Makes the turn of a caller and a query."""


WHOLE_TRIES = 3
"""So often an ending is offered as it is. After that it may be the ending that is at fault."""


class Admission(Protocol):
    """What a query must pass to become a turn; one that joins another turn is not asked."""

    async def enter(self, turn_id: str) -> None:
        """Raises: TooManyRequests."""
        ...

    def leave(self, turn_id: str) -> None:
        """The turn that entered has ended, or was never begun."""
        ...


class OpenDoor:
    async def enter(self, turn_id: str) -> None:
        pass

    def leave(self, turn_id: str) -> None:
        pass


@dataclass
class _Owed:
    ending: Ending
    tries: int = 0


class Turns:
    """All turns that run on this worker. A turn holds its slot from start to end.

    `check` may refuse a turn before anything is begun.
    """

    def __init__(
        self,
        *,
        sessions: SessionStore,
        open_turn: OpenTurn,
        worker: str,
        timeout_seconds: float,
        max_streams: int,
        grace_seconds: float = 30.0,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._sessions = sessions
        self._open_turn = open_turn
        self._worker = worker
        self._timeout_seconds = timeout_seconds
        self._max_streams = max_streams
        self._grace_seconds = grace_seconds
        self._check = check
        self._replays = Replays(sessions)
        self._running: dict[str, RunningTurn] = {}
        self._owed: list[_Owed] = []
        self._is_closing = False
        self._is_hurried = asyncio.Event()
        self.is_draining = False
        self.drained = asyncio.Event()
        """No turn runs any more, and none will."""

    @property
    def free_slots(self) -> int:
        return self._max_streams - len(self._running)

    async def start(
        self,
        caller: Caller,
        *,
        session_id: str,
        query: str,
        creates_session: bool,
        is_resumable: bool = False,
        idempotency_key: str | None = None,
        admission: Admission = OpenDoor(),  # noqa: B008 - it has no state
    ) -> Follower:
        """Claim the session for one turn; returns its first follower, who must `leave`.

        A turn of the session that nobody follows any more is ended for it. If the key has
        started a turn before, that one is followed from its beginning instead.

        Raises:
            Overloaded: every slot is taken.
            Draining: this worker is about to stop.
            TooManyRequests: `admission` says so.
            SessionBusy: another turn of this session has not ended yet.
            SessionNotFound: there is none, and it was not to be made.
            StorageError: the store cannot be reached.
            ServiceError: what `check` raised.
        """
        if idempotency_key is not None:
            known = await self._with_key(caller.owner, session_id, idempotency_key)
            if known is not None:
                return await self.follow(caller, known)
        self._admit()
        new = NewTurn(
            id=secrets.token_hex(8),
            owner=caller.owner,
            session_id=session_id,
            worker=self._worker,
            query=query,
            creates_session=creates_session,
            idempotency_key=idempotency_key,
        )
        grace_seconds = self._grace_seconds if is_resumable else 0.0
        turn = await self._begin(caller, new, grace_seconds, admission)
        follower = turn.follow()
        try:
            await turn.claimed()
        except AlreadyStarted as started:
            follower.leave()
            return await self.follow(caller, started.turn_id)
        except BaseException:  # also when the caller is cancelled: nobody will read
            follower.leave()
            raise
        return follower

    async def _begin(
        self, caller: Caller, new: NewTurn, grace_seconds: float, admission: Admission
    ) -> RunningTurn:
        """Whoever has entered leaves at the end of the turn, or when it cannot be begun."""
        await admission.enter(new.id)
        try:
            conversation = self._open_turn(caller, new.query)
            await self._supersede(new)
            # From here to the launch nothing waits, so the slot that is free now is ours.
            self._admit()
            turn = self._launch(new, conversation, grace_seconds)
        except BaseException:
            admission.leave(new.id)
            raise
        turn.task.add_done_callback(lambda _: admission.leave(new.id))
        return turn

    def _admit(self) -> None:
        if self._is_closing:
            raise Draining
        if self.free_slots <= 0:
            raise Overloaded
        self._check()

    async def _with_key(self, owner: str, session_id: str, key: str) -> str | None:
        """The turn that this key has started: to join it takes no slot and asks no limit."""
        for turn in self._of_session(owner, session_id):
            if turn.new.idempotency_key == key:
                return turn.new.id
        return await self._sessions.turn_with_key(owner, session_id, key)

    async def _supersede(self, new: NewTurn) -> None:
        """End what the session still runs for nobody."""
        for turn in self._of_session(new.owner, new.session_id):
            if turn.log.is_deserted:
                turn.stop(Outcome.DISCONNECTED)
                await asyncio.wait([turn.task])

    def _launch(self, new: NewTurn, conversation: Turn, grace_seconds: float) -> RunningTurn:
        turn = RunningTurn(
            new,
            conversation,
            sessions=self._sessions,
            timeout_seconds=self._timeout_seconds,
            grace_seconds=grace_seconds,
        )
        self._running[new.id] = turn
        turn.task.add_done_callback(lambda _: self._ended(turn))
        return turn

    async def follow(self, caller: Caller, turn_id: str, *, after: int = 0) -> Follower:
        """Everything of a turn behind position `after`, wherever it runs or ran.

        Raises:
            TurnNotFound: there is none, or it is somebody else's.
            LogGone: it ended too long ago.
            StorageError: the store cannot be reached.
        """
        turn = self._running.get(turn_id)
        if turn is not None and turn.new.owner == caller.owner:
            return turn.follow(after)
        return await self._replays.follow(caller.owner, turn_id, after=after)

    async def is_read(self, caller: Caller, turn_id: str, *, after: int) -> bool:
        """Whether the turn has ended and nothing in it stands behind position `after`."""
        turn = self._running.get(turn_id)
        if turn is not None and turn.new.owner == caller.owner:
            return turn.log.is_closed and after >= len(turn.log.events)
        return await self._replays.is_read(caller.owner, turn_id, after=after)

    async def stop(self, caller: Caller, turn_id: str) -> None:
        """Stop a turn, wherever it runs: here now, elsewhere at its worker's next renewal.

        Raises:
            TurnNotFound: there is none, or it is somebody else's.
        """
        turn = self._running.get(turn_id)
        if turn is None or turn.new.owner != caller.owner:
            await self._sessions.request_stop(caller.owner, turn_id)
            return
        turn.stop(Outcome.CANCELLED)
        await asyncio.wait([turn.task])

    async def renew(self) -> None:
        """Renew this worker's lease, and stop what somebody asked to stop elsewhere."""
        for turn_id in await self._sessions.renew(self._worker):
            if turn := self._running.get(turn_id):
                turn.stop(Outcome.CANCELLED)

    def _ended(self, turn: RunningTurn) -> None:
        del self._running[turn.new.id]
        if turn.owed is not None:
            self._owed.append(_Owed(turn.owed))

    async def stop_session(self, owner: str, session_id: str) -> None:
        """Stop the turn that this worker runs for a session, and wait for its end."""
        for turn in self._of_session(owner, session_id):
            turn.stop(Outcome.CANCELLED)
            await asyncio.wait([turn.task])

    def _of_session(self, owner: str, session_id: str) -> list[RunningTurn]:
        wanted = (owner, session_id)
        running = self._running.values()
        return [turn for turn in running if (turn.new.owner, turn.new.session_id) == wanted]

    async def store_owed(self) -> None:
        """Store the endings that the store would not take when they came.

        Until then their sessions stay busy, since this worker lives and holds them. One
        that cannot be stored at all is closed with nothing in it.
        """
        for owed in list(self._owed):
            try:
                await self._store(owed)
            except StorageError as error:
                owed.tries += 1
                logger.warning("turn_still_not_stored", turn=owed.ending.turn_id, error=str(error))
            else:
                self._owed.remove(owed)

    async def _store(self, owed: _Owed) -> None:
        ending = owed.ending
        if owed.tries >= WHOLE_TRIES:
            ending = bare(ending.turn_id, ending.outcome, ending.error_code)
        try:
            await self._sessions.finish(ending)
        except Exception as error:
            # Whatever one ending does to the store, the next one must have its turn.
            raise StorageError from error

    async def drain(self, *, accept_seconds: float, drain_seconds: float) -> None:
        """Let go of the turns as a server that leaves does, and return when none runs.

        `is_draining` is said at once; turns are still taken for `accept_seconds`, since
        it takes a moment until nobody sends any; those that still run after `drain_seconds`
        end with the error `server_draining`, and are stored.
        """
        self.is_draining = True
        await self._wait(accept_seconds)
        self._is_closing = True
        late = asyncio.create_task(self._stop_late(drain_seconds))
        while self._running:
            await asyncio.wait([turn.task for turn in self._running.values()])
            await asyncio.sleep(0)
        late.cancel()
        self.drained.set()

    async def _stop_late(self, seconds: float) -> None:
        await self._wait(seconds)
        for turn in self._running.values():
            turn.stop(Outcome.CANCELLED, ServerDraining())

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._is_hurried.wait(), seconds)

    def hurry(self) -> None:
        """Shorten every wait of a drain to nothing."""
        self._is_hurried.set()

    async def close(self) -> None:
        """Take no more turns, stop those that run, and wait until they are stored."""
        self.hurry()
        await self.drain(accept_seconds=0, drain_seconds=0)
        await self._replays.close()
        await self.store_owed()
