"""Start, follow, stop and drain turns. The entry point for every protocol."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from backend.agent.loop import Turn
from backend.domain.conversation import Caller, Message, Outcome
from backend.domain.errors import TurnNotFound
from backend.domain.events import Transport
from backend.domain.text import clean
from backend.domain.turn_keys import new_turn_id
from backend.storage.ports.sessions import NewTurn, SessionStore
from backend.telemetry import metrics
from backend.telemetry.turn_clock import TurnClock
from backend.turns.event_log import Follower, Place
from backend.turns.first_chunk import FirstChunks
from backend.turns.kinds import Kind, OpenTurn
from backend.turns.limits import Admission, NoAdmission, TurnLimits
from backend.turns.remote import RemoteTurns
from backend.turns.repeats import Key, Repeats
from backend.turns.replay import Replays
from backend.turns.running import RunningTurns
from backend.turns.shared_logs import SharedLogs
from backend.turns.turn_task import Settle, TurnTask
from backend.turns.unstored import UnstoredEndings


class Turns:
    """All turns that run on this worker, and access to those on other workers.

    `check` may refuse a turn before it starts. `on_drain` is called when a drain begins. With
    `shared_logs`, events and stop requests reach other workers at once. `ephemeral` is the kind of
    the turns that are not stored.
    """

    def __init__(
        self,
        *,
        sessions: SessionStore,
        open_turn: OpenTurn,
        worker: str,
        limits: TurnLimits,
        ephemeral: Kind | None = None,
        check: Callable[[], None] = lambda: None,
        shared_logs: SharedLogs | None = None,
        on_drain: Callable[[], None] = lambda: None,
        new_clock: Callable[[], TurnClock] = TurnClock,
    ) -> None:
        self._new_clock = new_clock
        self._sessions = sessions
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
        self._stored = Kind(open_turn=open_turn, claim=self._remote.claim, store=sessions)
        self._ephemeral = ephemeral
        self.wake = shared_logs.wake if shared_logs else asyncio.Event()
        """Set when `renew` should be called now instead of at its next regular time."""
        # A new follower must be stored soon: the worker that runs its turn ends the turn otherwise.
        self._first_chunks = FirstChunks()
        self._replays = Replays(
            sessions,
            shared_logs=shared_logs,
            came=self.wake.set,
            first_chunk_of=self._first_chunks.of,
        )
        self._repeats = Repeats(sessions, self._running, self._replays)
        self.is_draining = False
        self.drained = asyncio.Event()
        """Set when no turn runs any more and none can start."""

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
        asked_at: float | None = None,
        replaces: str | None = None,
        given: Sequence[Message] = (),
        is_stored: bool = True,
    ) -> Follower:
        """Claim the session for one turn, and follow it. The caller must call `leave()`.

        A turn of the session that has no followers is ended first. If the idempotency key has
        already started a turn, that turn is followed from its first event instead. If another
        request is starting a turn with the key, this call waits and gets the same result.
        `asked_at` is when the query arrived, by `time.perf_counter`; by default now.

        `replaces` is the id of a turn whose place this one takes: it and all later ones leave the
        history. `given` is what was said before, by the caller's word; a session that exists
        already ignores it. Unless it `is_stored`, the turn has neither tools nor a session, its
        history is `given`, and it ends when its readers leave; no key joins or replays it.

        Raises:
            NothingToReplace: the session has no messages of the turn to replace.
            KeyReused: the key has started a turn with another query.
            Overloaded: every slot of this worker is taken.
            Draining: this worker is about to stop.
            TooManyRequests: `admission` refused the turn.
            BudgetExhausted: a budget has nothing left.
            SessionBusy: another turn of this session has not ended yet.
            SessionNotFound: the session does not exist and `creates_session` is False.
            StorageError: the store cannot be reached.
            ServiceError: `check` refused the turn.
        """
        kind = self._stored if is_stored else self._ephemeral
        if kind is None:
            raise ValueError("these turns have no kind that is not stored")
        turn_id = new_turn_id(caller.owner)
        new = NewTurn(
            id=turn_id,
            owner=caller.owner,
            session_id=session_id if is_stored else turn_id,
            worker=self._worker,
            query=query,
            creates_session=creates_session,
            idempotency_key=idempotency_key if is_stored else None,
            replaces=replaces,
            given=[replace(each, content=clean(each.content)) for each in given if each.content],
        )
        begin = partial(
            self._begin,
            kind,
            caller,
            new,
            admission,
            is_resumable=is_resumable and is_stored,
            transport=transport,
            asked_at=time.perf_counter() if asked_at is None else asked_at,
        )
        if new.idempotency_key is None:
            return await (await begin()).join(new)
        key = Key(caller.owner, session_id, new.idempotency_key)
        return await self._repeats.start(key, new, begin)

    async def turn_of_key(self, caller: Caller, session_id: str, key: str) -> str | None:
        """Return the id of the turn that an idempotency key has started; None if it has not.

        Raises: StorageError.
        """
        running = self._running.with_key(caller.owner, session_id, key)
        if running is not None and running.is_claimed:
            return running.new.id
        stored = await self._sessions.turn_with_key(caller.owner, session_id, key=key)
        return None if stored is None else stored.record.id

    async def _begin(
        self,
        kind: Kind,
        caller: Caller,
        new: NewTurn,
        admission: Admission,
        *,
        is_resumable: bool,
        transport: Transport,
        asked_at: float,
    ) -> TurnTask:
        """Launch a turn, and keep its admission until the turn ends or fails to start."""
        self._check_start()
        await admission.enter(new.id)
        try:
            conversation = kind.open_turn(caller, new.query)
            await self._running.end_unread(new.owner, new.session_id)
            # Again: the slots may have been taken, or a drain begun, during the awaits above.
            # Nothing awaits between here and the launch, so a free slot stays free.
            self._check_start()
            turn = self._launch(
                kind,
                new,
                conversation,
                is_resumable=is_resumable,
                transport=transport,
                asked_at=asked_at,
                settle=admission.settle,
            )
        except BaseException:  # includes cancellation: no turn was started
            admission.leave(new.id)
            await admission.settle(new.id, ())
            raise
        turn.task.add_done_callback(lambda _: admission.leave(new.id))
        return turn

    def _check_start(self) -> None:
        self._running.check_room()
        self._check()

    def _launch(
        self,
        kind: Kind,
        new: NewTurn,
        conversation: Turn,
        *,
        is_resumable: bool,
        transport: Transport,
        asked_at: float,
        settle: Settle,
    ) -> TurnTask:
        grace_seconds = self._limits.grace_seconds if is_resumable else 0.0
        turn = TurnTask(
            new,
            conversation,
            claim=kind.claim,
            sessions=kind.store,
            timeout_seconds=self._limits.timeout_seconds,
            grace_seconds=grace_seconds,
            transport=transport,
            settle=settle,
            readers_changed=self.wake.set,
            clock=self._new_clock(),
        )
        turn.log.first_chunk = self._first_chunks.expect(
            new.id, transport, asked_at, grace_seconds=grace_seconds
        )
        self._running.add(turn)
        if is_resumable and self._shared_logs is not None:
            self._shared_logs.share(turn.log)
        return turn

    async def follow(
        self, caller: Caller, turn_id: str, *, after: Place = 0, session_id: str | None = None
    ) -> Follower:
        """Follow a turn on any worker from the place `after`. The caller must call `leave()`.

        If the turn has ended and `after` is its last event, the follower `is_at_end` immediately.

        Raises:
            TurnNotFound: the caller has no such turn, or it is in another session.
            LogGone: the turn ended too long ago; its log was deleted.
            PastTheEnd: the turn has no event at this place.
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
        """Stop a turn on any worker.

        Waits for the end of a local turn. Another worker stops its turn when it sees the request,
        at the latest when it renews its lease.

        Raises:
            TurnNotFound: the caller has no such turn.
            StorageError: the turn is not on this worker, and the store cannot be reached.
        """
        turn = self._running.of_owner(caller.owner, turn_id)
        if turn is None:
            await self._remote.stop(caller.owner, turn_id)
        else:
            turn.link_request()
            await turn.stop_and_wait(Outcome.CANCELLED)

    async def stop_session(self, owner: str, session_id: str) -> None:
        """Stop the turns of a session on any worker, and wait for their end."""
        for turn in self._running.of_session(owner, session_id):
            turn.link_request()
            await turn.stop_and_wait(Outcome.CANCELLED)
        # Also if a turn was stopped here: it may have been waiting for its claim.
        await self._remote.stop_session(owner, session_id)

    async def renew(self) -> None:
        """Renew this worker's lease, store which turns have followers here, and stop the turns
        that other workers want to end.
        """
        requests = await self._sessions.renew(
            self._worker,
            unfollowed=[turn.new.id for turn in self._running if turn.log.is_unfollowed],
            followed=self._replays.followed,
        )
        for request in requests:
            turn = self._running.get(request.turn_id)
            # A request with DISCONNECTED asks to end a turn because it had no follower. Ignore it
            # if a follower has come back since: this renewal has just stored that.
            if turn and (turn.log.is_unfollowed or request.outcome is not Outcome.DISCONNECTED):
                turn.stop(request.outcome)

    async def store_endings(self) -> None:
        await self._unstored.store()

    async def drain(self, *, accept_seconds: float, drain_seconds: float) -> None:
        """Let running turns finish before the worker stops; return when none runs.

        Sets `is_draining` at once, but accepts turns for another `accept_seconds`, because load
        balancers take a moment to notice. Turns that run `drain_seconds` after that end with the
        error `server_draining` and are stored. Finally, followers of turns on other workers get
        the same error, and can resume elsewhere.
        """
        if not self.is_draining:  # `close` drains once more
            self.is_draining = True
            metrics.drain_began()
        self._on_drain()
        await self._running.drain(accept_seconds=accept_seconds, drain_seconds=drain_seconds)
        await self._replays.close()
        self.drained.set()

    def hurry(self) -> None:
        """End all waits of a drain immediately."""
        self._running.hurry()

    async def close(self) -> None:
        """Refuse new turns, stop the running ones, and store their endings."""
        self.hurry()
        await self.drain(accept_seconds=0, drain_seconds=0)
        self._first_chunks.close()
        await self.store_endings()
