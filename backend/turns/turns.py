"""The turns of this worker: start, follow, stop, drain."""

import asyncio
import secrets
from collections.abc import Callable
from functools import partial

from backend.agent.loop import Turn
from backend.domain.conversation import Caller, Outcome
from backend.domain.errors import TurnNotFound
from backend.domain.events import Transport
from backend.storage.ports.sessions import NewTurn, SessionStore
from backend.telemetry import metrics
from backend.turns.event_log import Follower, Place
from backend.turns.limits import Admission, NoAdmission, TurnLimits
from backend.turns.remote import RemoteTurns
from backend.turns.repeats import Key, Repeats
from backend.turns.replay import Replays
from backend.turns.running import RunningTurns
from backend.turns.shared_logs import SharedLogs
from backend.turns.turn_task import TurnTask
from backend.turns.unstored import UnstoredEndings

OpenTurn = Callable[[Caller, str], Turn]
"""Makes the turn of a caller and a query."""


class Turns:
    """All turns that run on this worker, and the way to those that run elsewhere.

    `check` may refuse a turn before anything is begun; `on_drain` hears of a drain first. With
    `shared_logs`, followers on other workers read along, and workers hear of each other at once.
    """

    def __init__(
        self,
        *,
        sessions: SessionStore,
        open_turn: OpenTurn,
        worker: str,
        limits: TurnLimits,
        check: Callable[[], None] = lambda: None,
        shared_logs: SharedLogs | None = None,
        on_drain: Callable[[], None] = lambda: None,
    ) -> None:
        self._sessions = sessions
        self._open_turn = open_turn
        self._worker = worker
        self._limits = limits
        self._check = check
        self._shared_logs = shared_logs
        self._on_drain = on_drain
        self._unstored = UnstoredEndings(sessions, worker=worker)
        self._running = RunningTurns(limits.max_streams, keep_unstored=self._unstored.add)
        self._remote = RemoteTurns(
            sessions,
            nudge=shared_logs.nudge if shared_logs else lambda _: None,
            is_claimed_here=self._running.is_claimed,
            timeout_seconds=limits.remote_timeout_seconds,
        )
        self.wake = shared_logs.wake if shared_logs else asyncio.Event()
        """Set when it is worth while to `renew` now rather than at the next time."""
        # A turn's worker must not give it up while somebody waits for it here.
        self._replays = Replays(sessions, shared_logs=shared_logs, came=self.wake.set)
        self._repeats = Repeats(sessions, self._running, self._replays)
        self.is_draining = False
        self.drained = asyncio.Event()
        """No turn runs any more, and none will."""

    @property
    def free_slots(self) -> int:
        return self._running.free_slots

    async def start(
        self,
        caller: Caller,
        *,
        session_id: str,
        query: str,
        creates_session: bool,
        is_resumable: bool = False,
        idempotency_key: str | None = None,
        admission: Admission = NoAdmission(),  # noqa: B008 - it has no state
        transport: Transport = "sse",
    ) -> Follower:
        """Claim the session for one turn. The caller must `leave` the follower that it gets.

        A turn of the session that nobody follows any more is ended for it. If the key has
        started a turn before, that one is followed from its beginning instead; while it is about
        to start one, this waits, and is refused as the first is refused.

        Raises:
            KeyReused: the key has started a turn with another query.
            Overloaded: every slot is taken.
            Draining: this worker is about to stop.
            TooManyRequests: `admission` says so.
            SessionBusy: another turn of this session has not ended yet.
            SessionNotFound: there is none, and it was not to be made.
            StorageError: the store cannot be reached.
            ServiceError: what `check` raised.
        """
        new = NewTurn(
            id=secrets.token_hex(8),
            owner=caller.owner,
            session_id=session_id,
            worker=self._worker,
            query=query,
            creates_session=creates_session,
            idempotency_key=idempotency_key,
        )
        begin = partial(
            self._begin, caller, new, admission, is_resumable=is_resumable, transport=transport
        )
        if idempotency_key is None:
            return await (await begin()).join(new)
        return await self._repeats.start(Key(caller.owner, session_id, idempotency_key), new, begin)

    async def _begin(
        self,
        caller: Caller,
        new: NewTurn,
        admission: Admission,
        *,
        is_resumable: bool,
        transport: Transport,
    ) -> TurnTask:
        """A query that has entered leaves at the end of its turn, or when that cannot begin."""
        self._check_start()
        await admission.enter(new.id)
        try:
            conversation = self._open_turn(caller, new.query)
            await self._running.end_unread(new.owner, new.session_id)
            # Others may have taken the slots during the waits above, or a drain has begun. From
            # here to the launch nothing waits, so the slot that is free now is ours.
            self._check_start()
            turn = self._launch(new, conversation, is_resumable=is_resumable, transport=transport)
        except BaseException:  # also when the caller is cancelled: nothing was begun
            admission.leave(new.id)
            raise
        turn.task.add_done_callback(lambda _: admission.leave(new.id))
        return turn

    def _check_start(self) -> None:
        self._running.check_room()
        self._check()

    def _launch(
        self, new: NewTurn, conversation: Turn, *, is_resumable: bool, transport: Transport
    ) -> TurnTask:
        turn = TurnTask(
            new,
            conversation,
            claim=self._remote.claim,
            sessions=self._sessions,
            timeout_seconds=self._limits.timeout_seconds,
            grace_seconds=self._limits.grace_seconds if is_resumable else 0.0,
            transport=transport,
            readers_changed=self.wake.set,
        )
        self._running.add(turn)
        if is_resumable and self._shared_logs is not None:
            self._shared_logs.share(turn.log)
        return turn

    async def follow(
        self, caller: Caller, turn_id: str, *, after: Place = 0, session_id: str | None = None
    ) -> Follower:
        """Everything of a turn behind `after`, wherever it runs or ran.

        If all of it was read and nothing more will come, the follower `is_at_end` at once.

        Raises:
            TurnNotFound: there is none in that session, if one is given, or it is somebody else's.
            LogGone: it ended too long ago.
            PastTheEnd: it has no such place.
            StorageError: the store cannot be reached.
        """
        turn = self._running.of_owner(caller.owner, turn_id)
        if turn is None:
            return await self._replays.follow(
                caller.owner, turn_id, after=after, session_id=session_id
            )
        if session_id not in (None, turn.new.session_id):
            raise TurnNotFound
        turn.link_request()
        return turn.readers.follow(after)

    async def stop(self, caller: Caller, turn_id: str) -> None:
        """Stop a turn, wherever it runs: here now, elsewhere when its worker hears of it.

        Raises:
            TurnNotFound: there is none, or it is somebody else's.
        """
        turn = self._running.of_owner(caller.owner, turn_id)
        if turn is None:
            await self._remote.stop(caller.owner, turn_id)
        else:
            turn.link_request()
            await turn.stop_and_wait(Outcome.CANCELLED)

    async def stop_session(self, owner: str, session_id: str) -> None:
        """Stop what a session runs, wherever that is, and wait for its end."""
        for turn in self._running.of_session(owner, session_id):
            turn.link_request()
            await turn.stop_and_wait(Outcome.CANCELLED)
        # Even if something ran here: it may only have wanted the session that another worker holds.
        await self._remote.stop_session(owner, session_id)

    async def renew(self) -> None:
        """Renew this worker's lease, say who reads what here, and do what others ask for."""
        requests = await self._sessions.renew(
            self._worker,
            unfollowed=[turn.new.id for turn in self._running if turn.log.is_unfollowed],
            followed=self._replays.followed,
        )
        for request in requests:
            turn = self._running.get(request.turn_id)
            # It was asked to give way while nobody read it, and somebody may have come back since
            # then: the store has heard of that with this very renewal.
            if turn and (turn.log.is_unfollowed or request.outcome is not Outcome.DISCONNECTED):
                turn.stop(request.outcome)

    async def store_endings(self) -> None:
        """Store the endings that the store would not take when they came."""
        await self._unstored.store()

    async def drain(self, *, accept_seconds: float, drain_seconds: float) -> None:
        """Let go of the turns as a server that leaves does, and return when none runs.

        `is_draining` is set at once; turns are still taken for `accept_seconds`, since
        it takes a moment until nobody sends any; those that still run after `drain_seconds`
        end with the error `server_draining`, and are stored. Readers of turns on other workers
        get the same at the end, and can read on elsewhere.
        """
        self.is_draining = True
        self._on_drain()
        metrics.draining(is_draining=True)
        await self._running.drain(accept_seconds=accept_seconds, drain_seconds=drain_seconds)
        await self._replays.close()
        self.drained.set()

    def hurry(self) -> None:
        """Shorten every wait of a drain to nothing."""
        self._running.hurry()

    async def close(self) -> None:
        """Take no more turns, stop those that run, and wait until they are stored."""
        self.hurry()
        await self.drain(accept_seconds=0, drain_seconds=0)
        await self.store_endings()
