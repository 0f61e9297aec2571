"""The turns of this worker: start, follow, stop, drain, and how many there may be."""

import asyncio
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from backend.conversation import Caller, Outcome
from backend.elsewhere import Elsewhere
from backend.errors import Draining, Overloaded, ServerDraining, SessionBusy
from backend.events import Transport
from backend.log import Follower
from backend.owed import OwedEndings
from backend.replay import Replays
from backend.running import RunningTurn
from backend.sharing import Sharing
from backend.storage.ports.sessions import AlreadyStarted, Claim, NewTurn, SessionStore
from backend.telemetry import metrics, tracing
from backend.turn import Turn

OpenTurn = Callable[[Caller, str], Turn]
"""Makes the turn of a caller and a query."""


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


class Turns:
    """All turns that run on this worker. A turn holds its slot from start to end.

    `check` may refuse a turn before anything is begun. `patience_seconds` is the time in
    which every living worker has looked at the store. With `sharing`, followers on other
    workers read resumable turns as they run, and workers hear of each other at once.
    `on_drain` hears of a drain first.
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
        patience_seconds: float = 15.0,
        check: Callable[[], None] = lambda: None,
        sharing: Sharing | None = None,
        on_drain: Callable[[], None] = lambda: None,
    ) -> None:
        self._sessions = sessions
        self._open_turn = open_turn
        self._worker = worker
        self._timeout_seconds = timeout_seconds
        self._max_streams = max_streams
        self._grace_seconds = grace_seconds
        self._check = check
        self._sharing = sharing
        self._on_drain = on_drain
        self._replays = Replays(sessions, sharing=sharing)
        self._elsewhere = Elsewhere(
            sessions,
            nudge=sharing.nudge if sharing else lambda _: None,
            patience_seconds=patience_seconds,
        )
        self._running: dict[str, RunningTurn] = {}
        self._by_session: dict[tuple[str, str], dict[str, RunningTurn]] = {}
        self._owed = OwedEndings(sessions)
        self.news = sharing.news if sharing else asyncio.Event()
        """It is worth while to `renew` now rather than at the next time."""
        self._is_closing = False
        self._is_hurried = asyncio.Event()
        self.is_draining = False
        self.drained = asyncio.Event()
        """No turn runs any more, and none will."""
        metrics.slots_free(max_streams)

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
        transport: Transport = "sse",
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
            known = await self._known(caller, session_id, idempotency_key)
            if known is not None:
                return known
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
        turn = await self._begin(
            caller, new, admission, is_resumable=is_resumable, transport=transport
        )
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
        self,
        caller: Caller,
        new: NewTurn,
        admission: Admission,
        *,
        is_resumable: bool,
        transport: Transport,
    ) -> RunningTurn:
        """Whoever has entered leaves at the end of the turn, or when it cannot be begun."""
        await admission.enter(new.id)
        try:
            conversation = self._open_turn(caller, new.query)
            await self._supersede(new)
            # From here to the launch nothing waits, so the slot that is free now is ours.
            self._admit()
            turn = self._launch(new, conversation, is_resumable=is_resumable, transport=transport)
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

    async def _known(self, caller: Caller, session_id: str, key: str) -> Follower | None:
        """A follower of the turn that this key started: that takes no slot and ends no turn."""
        if turn := self._with_key(caller.owner, session_id, key):
            tracing.concerns(turn.new.id, turn.traceparent)
            return turn.follow()
        turn_id = await self._sessions.turn_with_key(caller.owner, session_id, key)
        if turn_id is not None:
            return await self.follow(caller, turn_id)
        # While the store was asked, somebody else may have started it.
        meanwhile = self._with_key(caller.owner, session_id, key)
        return None if meanwhile is None else meanwhile.follow()

    def _with_key(self, owner: str, session_id: str, key: str) -> RunningTurn | None:
        turns = self._of_session(owner, session_id)
        return next((turn for turn in turns if turn.new.idempotency_key == key), None)

    async def _supersede(self, new: NewTurn) -> None:
        """End what the session still runs here for nobody."""
        for turn in self._of_session(new.owner, new.session_id):
            if turn.log.is_deserted and not await turn.is_followed_elsewhere():
                turn.stop(Outcome.DISCONNECTED)
                await asyncio.wait([turn.task])

    async def _claim(self, new: NewTurn, history_tokens: int) -> Claim:
        """Claim the session; end first what another worker still runs in it for nobody."""
        try:
            return await self._sessions.claim(new, history_tokens=history_tokens)
        except SessionBusy:
            here = self._of_session(new.owner, new.session_id)
            is_held_here = any(turn.is_claimed for turn in here)
            if is_held_here or not await self._elsewhere.supersede(new.owner, new.session_id):
                raise
            return await self._sessions.claim(new, history_tokens=history_tokens)

    def _launch(
        self, new: NewTurn, conversation: Turn, *, is_resumable: bool, transport: Transport
    ) -> RunningTurn:
        turn = RunningTurn(
            new,
            conversation,
            claim=self._claim,
            sessions=self._sessions,
            timeout_seconds=self._timeout_seconds,
            grace_seconds=self._grace_seconds if is_resumable else 0.0,
            transport=transport,
            readers_changed=self.news.set,
        )
        self._running[new.id] = turn
        self._by_session.setdefault((new.owner, new.session_id), {})[new.id] = turn
        metrics.slots_free(self.free_slots)
        turn.task.add_done_callback(lambda _: self._ended(turn))
        if is_resumable and self._sharing is not None:
            self._sharing.share(turn.log)
        return turn

    async def follow(self, caller: Caller, turn_id: str, *, after: int = 0) -> Follower:
        """Everything of a turn behind position `after`, wherever it runs or ran.

        Raises:
            TurnNotFound: there is none, or it is somebody else's.
            LogGone: it ended too long ago.
            StorageError: the store cannot be reached.
        """
        turn = self._here(caller, turn_id)
        if turn is not None:
            tracing.concerns(turn_id, turn.traceparent)
            return turn.follow(after)
        follower = await self._replays.follow(caller.owner, turn_id, after=after)
        self.news.set()  # its worker must not give it up meanwhile
        return follower

    async def session_of(self, caller: Caller, turn_id: str) -> str:
        """The session that a turn belongs to.

        Raises:
            TurnNotFound: there is none, or it is somebody else's.
        """
        turn = self._running.get(turn_id)
        if turn is not None and turn.new.owner == caller.owner:
            return turn.new.session_id
        return (await self._sessions.turn(caller.owner, turn_id)).session_id

    async def is_read(self, caller: Caller, turn_id: str, *, after: int) -> bool:
        """Whether the turn has ended and nothing in it stands behind position `after`."""
        turn = self._here(caller, turn_id)
        if turn is not None:
            return turn.log.is_closed and after >= len(turn.log.events)
        return await self._replays.is_read(caller.owner, turn_id, after=after)

    async def stop(self, caller: Caller, turn_id: str) -> None:
        """Stop a turn, wherever it runs: here now, elsewhere when its worker hears of it.

        Raises:
            TurnNotFound: there is none, or it is somebody else's.
        """
        turn = self._here(caller, turn_id)
        if turn is None:
            await self._elsewhere.stop(caller.owner, turn_id)
            return
        tracing.concerns(turn_id, turn.traceparent)
        turn.stop(Outcome.CANCELLED)
        await asyncio.wait([turn.task])

    def _here(self, caller: Caller, turn_id: str) -> RunningTurn | None:
        turn = self._running.get(turn_id)
        return turn if turn is not None and turn.new.owner == caller.owner else None

    async def renew(self) -> None:
        """Renew this worker's lease, say who reads what here, and do what others ask for."""
        requests = await self._sessions.renew(
            self._worker,
            deserted=[id_ for id_, turn in self._running.items() if turn.log.is_deserted],
            followed=self._replays.followed,
        )
        for request in requests:
            turn = self._running.get(request.turn_id)
            # Somebody may have come back to it since it was asked to give way.
            if turn and (turn.log.is_deserted or request.outcome is not Outcome.DISCONNECTED):
                turn.stop(request.outcome)

    def _ended(self, turn: RunningTurn) -> None:
        del self._running[turn.new.id]
        of_session = self._by_session[turn.new.owner, turn.new.session_id]
        del of_session[turn.new.id]
        if not of_session:
            del self._by_session[turn.new.owner, turn.new.session_id]
        metrics.slots_free(self.free_slots)
        if turn.owed is not None:
            self._owed.add(turn.owed)

    async def stop_session(self, owner: str, session_id: str) -> None:
        """Stop what a session runs, wherever that is, and wait for its end."""
        for turn in self._of_session(owner, session_id):
            tracing.concerns(turn.new.id, turn.traceparent)
            turn.stop(Outcome.CANCELLED)
            await asyncio.wait([turn.task])
        # Also then: what was here may only have wanted the session.
        await self._elsewhere.stop_session(owner, session_id)

    def _of_session(self, owner: str, session_id: str) -> list[RunningTurn]:
        return list(self._by_session.get((owner, session_id), {}).values())

    async def store_owed(self) -> None:
        """Store the endings that the store would not take when they came."""
        await self._owed.store()

    async def drain(self, *, accept_seconds: float, drain_seconds: float) -> None:
        """Let go of the turns as a server that leaves does, and return when none runs.

        `is_draining` is said at once; turns are still taken for `accept_seconds`, since
        it takes a moment until nobody sends any; those that still run after `drain_seconds`
        end with the error `server_draining`, and are stored. Readers of turns on other workers
        are told the same at the end, and can read on elsewhere.
        """
        self.is_draining = True
        self._on_drain()
        metrics.draining(is_draining=True)
        await self._wait(accept_seconds)
        self._is_closing = True
        late = asyncio.create_task(self._stop_late(drain_seconds))
        while self._running:
            await asyncio.wait([turn.task for turn in self._running.values()])
            await asyncio.sleep(0)
        late.cancel()
        await self._replays.close()
        self.drained.set()

    async def _stop_late(self, seconds: float) -> None:
        await self._wait(seconds)
        for turn in self._running.values():
            turn.stop(Outcome.CANCELLED, ServerDraining())

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._is_hurried.wait()

    def hurry(self) -> None:
        """Shorten every wait of a drain to nothing."""
        self._is_hurried.set()

    async def close(self) -> None:
        """Take no more turns, stop those that run, and wait until they are stored."""
        self.hurry()
        await self.drain(accept_seconds=0, drain_seconds=0)
        await self.store_owed()
