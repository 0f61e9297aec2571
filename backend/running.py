"""One turn as it runs: a task from its claim to its end, and the log that it writes."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace

import structlog

from backend.conversation import Outcome, Role
from backend.errors import ServiceError, StorageError, TurnInterrupted, TurnTimedOut
from backend.events import Chunk, End, Event, Transport, encode, failure
from backend.log import EventLog, Follower
from backend.storage.ports.sessions import Claim, Ending, NewTurn, SessionStore
from backend.telemetry import metrics, tracing
from backend.turn import Turn

logger = structlog.get_logger()


class RunningTurn:
    """Claims its session, converses into its log, stores how that ended, and ends the stream.

    Whatever goes wrong, the log ends with one `End`, and what could not be stored is `owed`.
    """

    def __init__(
        self,
        new: NewTurn,
        turn: Turn,
        *,
        claim: Callable[[NewTurn, int], Awaitable[Claim]],
        sessions: SessionStore,
        timeout_seconds: float,
        grace_seconds: float = 0.0,
        transport: Transport = "sse",
        readers_changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.new = new
        self._span = tracing.NO_SPAN
        self._transport = transport
        self.log = EventLog(new.id, deserted=self._deserted)
        self._grace_seconds = grace_seconds
        self._readers_changed = readers_changed
        self._giving_up: asyncio.Task[None] | None = None
        self.owed: Ending | None = None
        """How the turn ended, if the store would not take it."""
        self._turn = turn
        self._claim = claim
        self._sessions = sessions
        self._timeout_seconds = timeout_seconds
        self._begun = time.perf_counter()
        self._first_chunk_seconds: float | None = None
        self._stopped_as: Outcome | None = None
        self._stopped_for: ServiceError | None = None
        self._conversing: asyncio.Task[None] | None = None
        self._is_claimed = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(self._run(), name=f"turn {new.id}")

    async def claimed(self) -> None:
        """Wait until the session is held. Raises what the store refused with."""
        await asyncio.shield(self._is_claimed)

    @property
    def is_claimed(self) -> bool:
        """It holds its session, or was refused it."""
        return self._is_claimed.done()

    @property
    def traceparent(self) -> str | None:
        """Of its span, which a turn has that is claimed."""
        return tracing.traceparent(self._span)

    def follow(self, after: int = 0) -> Follower:
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._readers_changed()
        return self.log.follow(min(after, len(self.log.events)))

    def _deserted(self) -> None:
        """A plain turn ends with its last follower, a resumable one some time later."""
        if not self._grace_seconds:
            self.stop(Outcome.DISCONNECTED)
            return
        self._giving_up = asyncio.create_task(self._give_up())
        self._readers_changed()

    async def _give_up(self) -> None:
        is_followed = True
        while is_followed:
            await asyncio.sleep(self._grace_seconds)
            is_followed = await self.is_followed_elsewhere()
        self.stop(Outcome.DISCONNECTED)

    async def is_followed_elsewhere(self) -> bool:
        """Whether somebody reads it on another worker, or nobody can tell."""
        try:
            return await self._sessions.is_followed(self.new.id)
        except StorageError:
            return True

    def stop(self, outcome: Outcome, error: ServiceError | None = None) -> None:
        """End the conversation now, with this outcome, and with this error if the client is
        to hear of one. The first to say so wins, and nobody does once the conversation is over.
        """
        if self._stopped_as is not None:
            return
        self._stopped_as = outcome
        self._stopped_for = error
        if self._conversing is not None:
            self._conversing.cancel()

    async def _run(self) -> None:
        """Only a cancellation by `stop` comes out of it."""
        try:
            span = tracing.begin_turn(
                turn_id=self.new.id,
                session_id=self.new.session_id,
                is_own_trace=self._transport == "websocket",
            )
            new = replace(self.new, traceparent=tracing.traceparent(span))
            claim = await self._claim(new, self._turn.history_tokens)
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to who waits
            self._refuse(error)
            return
        self._span = span
        tracing.enter(span)
        self._is_claimed.set_result(None)
        failed: ServiceError | None = None
        try:
            failed = await self._converse(claim)
        finally:
            await self._end(failed)

    def _refuse(self, error: Exception) -> None:
        if isinstance(error, StorageError):
            # It may have been committed all the same; then the session must not stay held.
            self.owed = self._bare_ending(Outcome.FAILED, error)
        known = error if isinstance(error, ServiceError) else ServiceError()
        self.log.append(failure(known))  # for those who joined by its key
        self._close_log()
        self._is_claimed.set_exception(error)
        # Marked as seen: if the one who waits was cancelled, it is no news.
        self._is_claimed.exception()

    async def _converse(self, claim: Claim) -> ServiceError | None:
        """Run the conversation into the log. Returns what it failed with."""
        if self._stopped_as is not None:
            return None
        self._conversing = self.task
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
        error = error or self._stopped_for
        outcome = self._stopped_as = self._stopped_as or _outcome_of(error)
        ending = self._bare_ending(outcome, error)
        try:
            self._say_last(error)
            ending = self._ending(outcome, error)
            is_stored = await self._sessions.finish(ending)
        except Exception:
            # Also a defect must not leave the stream open and the session held.
            logger.exception("turn_not_stored", turn=self.new.id)
            is_stored, self.owed = False, ending
        if not is_stored and error is None:
            self.log.append(failure(StorageError()))
        self._close_log()
        if self.owed is not None:
            # What is stored later is the log as it was shown.
            self.owed = replace(self.owed, log=encode(self.log.events))
        self._tell(ending, is_stored=is_stored)

    def _close_log(self) -> None:
        if self._giving_up is not None:
            self._giving_up.cancel()
        self.log.append(End())
        self.log.close()

    def _say_last(self, error: ServiceError | None) -> None:
        for event in self._turn.unshown:
            self.log.append(event)
        if error is None and self._stopped_as is Outcome.DISCONNECTED:
            # Nobody reads it now; who comes back must not take it for a whole answer.
            error = TurnInterrupted()
        if error is not None:
            self.log.append(failure(error))

    def _ending(self, outcome: Outcome, error: ServiceError | None) -> Ending:
        turn = self._turn
        return Ending(
            turn_id=self.new.id,
            outcome=outcome,
            messages=turn.messages,
            log=encode([*self.log.events, End()]),
            error_code=None if error is None else error.code,
            model=turn.model,
            rounds=turn.rounds,
            usage=turn.usage,
            first_chunk_seconds=self._first_chunk_seconds,
            characters_per_token=turn.characters_per_token,
        )

    def _bare_ending(self, outcome: Outcome, error: ServiceError | None) -> Ending:
        """What can always be said and stored."""
        return bare(self.new.id, outcome, None if error is None else error.code)

    def _tell(self, ending: Ending, *, is_stored: bool) -> None:
        turn = self._turn
        seconds = time.perf_counter() - self._begun
        metrics.turn_ended(
            ending.outcome,
            self._transport,
            seconds=seconds,
            waited_seconds=turn.on_upstream.seconds + turn.on_tools.seconds,
            rounds=turn.rounds,
        )
        tracing.end_turn(
            self._span,
            outcome=ending.outcome,
            error=ending.error_code,
            model=ending.model,
            rounds=ending.rounds,
            input_tokens=ending.usage.input_tokens,
            output_tokens=ending.usage.output_tokens,
        )
        logger.info(
            "turn_finished",
            turn=ending.turn_id,
            transport=self._transport,
            outcome=ending.outcome,
            error=ending.error_code,
            is_stored=is_stored,
            model=ending.model,
            rounds=ending.rounds,
            tools=sum(message.role is Role.TOOL for message in self._turn.messages),
            input_tokens=ending.usage.input_tokens,
            output_tokens=ending.usage.output_tokens,
            first_chunk_seconds=_rounded(ending.first_chunk_seconds),
            upstream_seconds=_rounded(turn.on_upstream.seconds),
            tool_seconds=_rounded(turn.on_tools.seconds),
            seconds=_rounded(seconds),
        )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)


def bare(turn_id: str, outcome: Outcome, error_code: str | None) -> Ending:
    """An ending with nothing in it that a store could choke on."""
    log = encode([failure(StorageError()), End()])
    return Ending(turn_id=turn_id, outcome=outcome, messages=(), log=log, error_code=error_code)


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
