"""The turns of this worker: start, stop, and what is still owed to the store."""

import asyncio
import secrets
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from backend.conversation import Caller, Outcome
from backend.elsewhere import Elsewhere
from backend.errors import Draining, Overloaded, ServerDraining, SessionBusy
from backend.log import Follower
from backend.owed import OwedEndings
from backend.replay import Replays
from backend.running import RunningTurn, Transport
from backend.sharing import Sharing
from backend.storage import AlreadyStarted, NewTurn, SessionStore
from backend.telemetry import tracing
from backend.turn import Turn

OpenTurn = Callable[[Caller, str], Turn]
"""Makes the turn of a caller and a query."""


class Turns:
    """All turns that run on this worker. A turn holds its slot from start to end.

    `check` may refuse a turn before anything is begun. `patience_seconds` is the time in
    which every living worker has looked at the store. With `sharing`, followers on other
    workers read resumable turns as they run, and workers hear of each other at once.
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
    ) -> None:
        self._sessions = sessions
        self._open_turn = open_turn
        self._worker = worker
        self._timeout_seconds = timeout_seconds
        self._max_streams = max_streams
        self._grace_seconds = grace_seconds
        self._check = check
        self._sharing = sharing
        self._replays = Replays(sessions, sharing=sharing)
        self._elsewhere = Elsewhere(
            sessions,
            nudge=sharing.nudge if sharing else lambda _: None,
            patience_seconds=patience_seconds,
        )
        self._running: dict[str, RunningTurn] = {}
        self._owed = OwedEndings(sessions)
        self.news = sharing.news if sharing else asyncio.Event()
        """It is worth while to `renew` now rather than at the next time."""
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
        transport: Transport = "sse",
    ) -> Follower:
        """Claim the session for one turn; returns its first follower, who must `leave`.

        A turn of the session that nobody follows any more is ended for it. If the key has
        started a turn before, that one is followed from its beginning instead.

        Raises:
            Overloaded: every slot is taken.
            Draining: this worker is about to stop.
            SessionBusy: another turn of this session has not ended yet.
            SessionNotFound: there is none, and it was not to be made.
            StorageError: the store cannot be reached.
            ServiceError: what `check` raised.
        """
        if joined := self._with_key(caller.owner, session_id, idempotency_key):
            tracing.concerns(joined.new.id, joined.span)
            return joined.follow()
        self._admit()
        await self._supersede(caller.owner, session_id)
        begin = partial(
            self._begin,
            caller,
            session_id=session_id,
            query=query,
            creates_session=creates_session,
            is_resumable=is_resumable,
            idempotency_key=idempotency_key,
            transport=transport,
        )
        try:
            return await begin()
        except SessionBusy:
            if not await self._superseded_elsewhere(caller.owner, session_id):
                raise
            return await begin()

    async def _begin(
        self,
        caller: Caller,
        *,
        session_id: str,
        query: str,
        creates_session: bool,
        is_resumable: bool,
        idempotency_key: str | None,
        transport: Transport,
    ) -> Follower:
        conversation = self._open_turn(caller, query)
        # From here to the launch nothing waits, so the slot that is free now is ours.
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
        turn = self._launch(new, conversation, is_resumable=is_resumable, transport=transport)
        follower = turn.follow()
        try:
            await turn.claimed()
        except AlreadyStarted as known:
            follower.leave()
            return await self.follow(caller, known.turn_id)
        except BaseException:  # also when the caller is cancelled: nobody will read
            follower.leave()
            raise
        return follower

    def _admit(self) -> None:
        if self._is_closing:
            raise Draining
        if self.free_slots <= 0:
            raise Overloaded
        self._check()

    def _with_key(self, owner: str, session_id: str, key: str | None) -> RunningTurn | None:
        """The turn that this key started and that still runs: to join it takes no slot."""
        turns = self._of_session(owner, session_id) if key is not None else []
        return next((turn for turn in turns if turn.new.idempotency_key == key), None)

    async def _supersede(self, owner: str, session_id: str) -> None:
        """End what the session still runs for nobody."""
        for turn in self._of_session(owner, session_id):
            if turn.log.is_deserted and not await turn.is_followed_elsewhere():
                turn.stop(Outcome.DISCONNECTED)
                await asyncio.wait([turn.task])

    async def _superseded_elsewhere(self, owner: str, session_id: str) -> bool:
        if self._of_session(owner, session_id):
            return False
        return await self._elsewhere.supersede(owner, session_id)

    def _launch(
        self, new: NewTurn, conversation: Turn, *, is_resumable: bool, transport: Transport
    ) -> RunningTurn:
        turn = RunningTurn(
            new,
            conversation,
            sessions=self._sessions,
            timeout_seconds=self._timeout_seconds,
            grace_seconds=self._grace_seconds if is_resumable else 0.0,
            transport=transport,
            readers_changed=self.news.set,
        )
        self._running[new.id] = turn
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
        tracing.concerns(turn_id, turn.span if turn else None)
        if turn is not None:
            return turn.follow(after)
        return await self._replays.follow(caller.owner, turn_id, after=after)

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
        tracing.concerns(turn_id, turn.span if turn else None)
        if turn is None:
            await self._elsewhere.stop(caller.owner, turn_id)
            return
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
        if turn.owed is not None:
            self._owed.add(turn.owed)

    async def stop_session(self, owner: str, session_id: str) -> None:
        """Stop what a session runs, wherever that is, and wait for its end."""
        here = self._of_session(owner, session_id)
        for turn in here:
            tracing.concerns(turn.new.id, turn.span)
            turn.stop(Outcome.CANCELLED)
            await asyncio.wait([turn.task])
        if not here:
            await self._elsewhere.stop_session(owner, session_id)

    def _of_session(self, owner: str, session_id: str) -> list[RunningTurn]:
        wanted = (owner, session_id)
        running = self._running.values()
        return [turn for turn in running if (turn.new.owner, turn.new.session_id) == wanted]

    async def store_owed(self) -> None:
        """Store the endings that the store would not take when they came."""
        await self._owed.store()

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
