"""The turns of this worker: start, follow, stop.

Each turn is one task: it claims the session, runs the conversation into an event log,
stores how it ended, and only then lets the stream end. Followers never touch it; when
the last one leaves, the turn is told to stop.
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from contextlib import aclosing

import msgspec
import structlog

from backend.conversation import Caller, Outcome
from backend.errors import Draining, Overloaded, ServiceError, StorageError, TurnTimedOut
from backend.events import Chunk, End, Event, failure
from backend.log import EventLog, Follower
from backend.storage import Claim, Ending, NewTurn, SessionStore
from backend.turn import Turn

logger = structlog.get_logger()

OpenTurn = Callable[[Caller, str], Turn]
"""Makes the turn of a caller and a query."""


class RunningTurn:
    """A turn from its claim to its end, with the log that it writes."""

    def __init__(
        self,
        new: NewTurn,
        turn: Turn,
        *,
        sessions: SessionStore,
        history_tokens: int,
        timeout_seconds: float,
    ) -> None:
        self.new = new
        self.log = EventLog(deserted=lambda: self.stop(Outcome.DISCONNECTED))
        self.unstored: Ending | None = None
        """How the turn ended, if the store would not take it."""
        self._turn = turn
        self._sessions = sessions
        self._history_tokens = history_tokens
        self._timeout_seconds = timeout_seconds
        self._begun = time.perf_counter()
        self._first_chunk_seconds: float | None = None
        self._stopped_as: Outcome | None = None
        self._conversing: asyncio.Task[None] | None = None
        self._is_claimed = asyncio.get_running_loop().create_future()

    @property
    def id(self) -> str:
        return self.new.id

    async def claimed(self) -> None:
        """Wait until the session is held. Raises what the store refused with."""
        await asyncio.shield(self._is_claimed)

    def stop(self, outcome: Outcome) -> None:
        """End the conversation now, with this outcome. The first to say so wins,
        and nobody does once the answer is whole.
        """
        if self._stopped_as is not None:
            return
        self._stopped_as = outcome
        if self._conversing is not None:
            self._conversing.cancel()

    async def run(self) -> None:
        """The whole life of the turn. Only a cancellation by `stop` comes out of it."""
        try:
            claim = await self._sessions.claim(self.new, history_tokens=self._history_tokens)
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to who waits
            self._is_claimed.set_exception(error)
            # Marked as seen: if the one who waits was cancelled, it is no news.
            self._is_claimed.exception()
            return
        self._is_claimed.set_result(None)
        failed: ServiceError | None = None
        try:
            failed = await self._converse(claim)
        finally:
            await self._end(failed)

    async def _converse(self, claim: Claim) -> ServiceError | None:
        """Run the conversation into the log. Returns what it failed with."""
        if self._stopped_as is not None:
            return None
        self._conversing = asyncio.current_task()
        deadline = asyncio.timeout(self._timeout_seconds)
        conversation = self._turn.run(
            claim.history, characters_per_token=claim.characters_per_token
        )
        try:
            async with deadline, aclosing(conversation) as events:
                async for event in events:
                    self._append(event)
        except ServiceError as error:
            return error
        except Exception as error:  # noqa: BLE001 - the last place where the stream can end well
            return TurnTimedOut() if deadline.expired() else _unexpected(error)
        finally:
            self._conversing = None
        return None

    def _append(self, event: Event) -> None:
        if self._first_chunk_seconds is None and isinstance(event, Chunk):
            self._first_chunk_seconds = time.perf_counter() - self._begun
        self.log.append(event)

    async def _end(self, error: ServiceError | None) -> None:
        """Store the ending, and then end the stream: who has read `end` may ask again."""
        outcome = self._stopped_as = self._stopped_as or _outcome_of(error)
        for event in self._turn.unshown:
            self.log.append(event)
        if error is not None:
            self.log.append(failure(error))
        ending = self._ending(outcome, error)
        try:
            await self._sessions.finish(ending)
        except StorageError as unstored:
            self.unstored = ending
            logger.warning("turn_not_stored", turn=self.id, error=str(unstored))
            if error is None:
                self.log.append(failure(unstored))
        finally:
            self.log.append(End())
            self.log.close()
        self._tell(ending)

    def _ending(self, outcome: Outcome, error: ServiceError | None) -> Ending:
        turn = self._turn
        return Ending(
            turn_id=self.id,
            outcome=outcome,
            messages=turn.messages,
            log=msgspec.json.encode([*self.log.events, End()]),
            error_code=None if error is None else error.code,
            model=turn.model,
            rounds=turn.rounds,
            usage=turn.usage,
            first_chunk_seconds=self._first_chunk_seconds,
            characters_per_token=turn.characters_per_token,
        )

    def _tell(self, ending: Ending) -> None:
        logger.info(
            "turn_finished",
            turn=self.id,
            outcome=ending.outcome,
            error=ending.error_code,
            model=ending.model,
            rounds=ending.rounds,
            input_tokens=ending.usage.input_tokens,
            output_tokens=ending.usage.output_tokens,
            first_chunk_seconds=ending.first_chunk_seconds,
            seconds=round(time.perf_counter() - self._begun, 4),
        )


class Turns:
    """All turns that run on this worker. A turn holds its slot from start to end."""

    def __init__(
        self,
        *,
        sessions: SessionStore,
        open_turn: OpenTurn,
        worker: str,
        history_tokens: int,
        timeout_seconds: float,
        max_streams: int,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._sessions = sessions
        self._open_turn = open_turn
        self._worker = worker
        self._history_tokens = history_tokens
        self._timeout_seconds = timeout_seconds
        self._max_streams = max_streams
        self._check = check
        self._running: dict[RunningTurn, asyncio.Task[None]] = {}
        self._unstored: list[Ending] = []
        self._is_closing = False

    @property
    def free_slots(self) -> int:
        return self._max_streams - len(self._running)

    async def start(
        self, caller: Caller, *, session_id: str, query: str, creates_session: bool
    ) -> tuple[str, Follower]:
        """Claim the session for one turn; returns the turn's id and its first follower.

        Raises:
            Overloaded: every slot is taken.
            Draining: this worker is about to stop.
            SessionBusy: another turn of this session has not ended yet.
            SessionNotFound: there is none, and it was not to be made.
            StorageError: the store cannot be reached.
            ServiceError: what `check` raises, before anything is begun.
        """
        if self._is_closing:
            raise Draining
        if self.free_slots <= 0:
            raise Overloaded
        self._check()
        new = NewTurn(
            id=secrets.token_hex(8),
            owner=caller.owner,
            session_id=session_id,
            worker=self._worker,
            query=query,
            creates_session=creates_session,
        )
        turn = self._launch(new, self._open_turn(caller, query))
        follower = turn.log.follow()
        try:
            await turn.claimed()
        except BaseException:
            follower.leave()
            raise
        return turn.id, follower

    def _launch(self, new: NewTurn, conversation: Turn) -> RunningTurn:
        turn = RunningTurn(
            new,
            conversation,
            sessions=self._sessions,
            history_tokens=self._history_tokens,
            timeout_seconds=self._timeout_seconds,
        )
        task = asyncio.create_task(turn.run(), name=f"turn {turn.id}")
        self._running[turn] = task
        task.add_done_callback(lambda _: self._ended(turn))
        return turn

    def _ended(self, turn: RunningTurn) -> None:
        del self._running[turn]
        if turn.unstored is not None:
            self._unstored.append(turn.unstored)

    async def stop_session(self, owner: str, session_id: str) -> None:
        """Stop the turn that this worker runs for a session, and wait for its end."""
        for turn, task in list(self._running.items()):
            if (turn.new.owner, turn.new.session_id) == (owner, session_id):
                turn.stop(Outcome.CANCELLED)
                await asyncio.wait([task])

    async def store_owed(self) -> None:
        """Store the endings that the store would not take when they came.

        Until then their sessions stay busy, since this worker lives and holds them.

        Raises:
            StorageError: it still will not.
        """
        while self._unstored:
            await self._sessions.finish(self._unstored[0])
            del self._unstored[0]

    async def close(self) -> None:
        """Take no more turns, stop those that run, and wait until they are stored."""
        self._is_closing = True
        for turn in self._running:
            turn.stop(Outcome.CANCELLED)
        if self._running:
            await asyncio.wait(self._running.values())


def _outcome_of(error: ServiceError | None) -> Outcome:
    match error:
        case None:
            return Outcome.COMPLETED
        case TurnTimedOut():
            return Outcome.TIMED_OUT
        case _:
            return Outcome.FAILED


def _unexpected(error: Exception) -> ServiceError:
    logger.error("turn_broke", exc_info=error)
    return ServiceError()
