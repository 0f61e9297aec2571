"""Run one turn: a task from the claim of its session to its end, and the log that it writes."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

import structlog

from backend.agent.loop import Turn
from backend.domain.conversation import Outcome, TurnRecord
from backend.domain.errors import (
    KeyReused,
    ServiceError,
    StorageError,
    TurnInterrupted,
    TurnTimedOut,
)
from backend.domain.events import Chunk, End, Event, Transport, encode, failure
from backend.domain.turn_keys import TurnKey
from backend.domain.usage import ModelCall
from backend.storage.ports.sessions import WORKER_LOST, Claim, Earlier, Ending, NewTurn
from backend.telemetry import call_tally, identity, kept_traces, tracing, turn_clock
from backend.telemetry.call_tally import CallTally
from backend.telemetry.turn_clock import Part, TurnClock
from backend.turns.disconnects import Readers
from backend.turns.endings import (
    minimal_ending,
    outcome_event,
    outcome_of,
    refused_ending,
    report,
    taken_over,
    whole_ending,
)
from backend.turns.event_log import Follower
from backend.turns.limits import NoAdmission

logger = structlog.get_logger()


Settle = Callable[[str, Sequence[ModelCall]], Awaitable[None]]
"""Counts the calls of a turn against budgets. Raises nothing."""


class TurnStore(Protocol):
    """The part of `SessionStore` that a turn itself needs."""

    async def finish(self, ending: Ending) -> bool: ...

    async def turn(self, owner: str, turn_id: str, /) -> TurnRecord: ...

    async def is_followed(self, turn: TurnKey) -> bool: ...


class ClaimSession(Protocol):
    async def __call__(
        self, new: NewTurn, /, *, history_tokens: int, beside_characters: int
    ) -> Claim:
        """Do what `SessionStore.claim` promises."""
        ...


class TurnTask:
    """Claims the session, runs the conversation into the log, stores the ending, ends the stream.

    The log always ends with exactly one `End`. If the store refuses the ending, it is in
    `unstored`.
    """

    def __init__(
        self,
        new: NewTurn,
        turn: Turn,
        *,
        claim: ClaimSession,
        sessions: TurnStore,
        timeout_seconds: float,
        grace_seconds: float = 0.0,
        transport: Transport = "sse",
        settle: Settle = NoAdmission().settle,  # noqa: B008 - it has no state
        readers_changed: Callable[[], None] = lambda: None,
        clock: TurnClock | None = None,
    ) -> None:
        self.new = new
        self._clock = clock or TurnClock()
        self._tally = CallTally()
        self._span = tracing.NO_SPAN
        self._transport = transport
        self.readers = Readers(
            new.key,
            new.session_id,
            sessions=sessions,
            grace_seconds=grace_seconds,
            gone=partial(self.stop, Outcome.DISCONNECTED),
            changed=readers_changed,
        )
        self.log = self.readers.log
        self.log.clock = self._clock
        self.unstored: Ending | None = None
        self._turn = turn
        self._claim = claim
        self._settle = settle
        self.sessions = sessions
        self._timeout_seconds = timeout_seconds
        self._first_chunk_seconds: float | None = None
        self._was_lost = False
        """Whether another worker took this one for dead, and has closed the turn and counted it."""
        self._stopped_as: Outcome | None = None
        self._stopped_for: ServiceError | None = None
        self._conversing: asyncio.Task[None] | None = None
        self._claimed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the claim has succeeded or failed."""
        self.task = asyncio.create_task(self._run(), name=f"turn {new.id}")

    async def join(self, new: NewTurn) -> Follower:
        """Wait until the turn holds its session, and follow it from its first event.

        `new` is the query that started this turn, or a repeat of it.

        Raises: KeyReused, if `new` has another query; otherwise what the claim raised.
        """
        if self.new.query != new.query:
            raise KeyReused
        follower = self.readers.follow()
        try:
            # A claim that was sent cannot be taken back, so a cancelled caller must not cancel it.
            # If it succeeds, the turn ends like every turn without readers.
            await asyncio.shield(self._claimed)
        except BaseException:  # includes a cancelled caller, which would never call `leave`
            follower.leave()
            raise
        if self.new is not new:
            self.link_request()
        return follower

    @property
    def is_claimed(self) -> bool:
        """Whether the claim has succeeded: the turn then holds its session until its end."""
        return self._claimed.done() and self._claimed.exception() is None

    async def stop_and_wait(self, outcome: Outcome) -> None:
        self.stop(outcome)
        await asyncio.wait([self.task])

    def link_request(self) -> None:
        """Link the span of the current request to this turn, and name its session in log lines."""
        identity.note_session(self.new.session_id)
        tracing.link_to_turn(self.new.id, tracing.traceparent(self._span))

    def stop(self, outcome: Outcome, error: ServiceError | None = None) -> None:
        """End the conversation with this outcome, and with an `error` event if `error` is given.

        Only the first call counts, and none has an effect after the conversation is over.
        """
        if self._stopped_as is not None:
            return
        self._stopped_as = outcome
        self._stopped_for = error
        # Cancel the conversation only. A cancelled claim or ending may have been committed, and
        # we could not know. A stop during the claim is seen before the conversation starts.
        if self._conversing is not None:
            self._conversing.cancel()

    async def _run(self) -> None:
        """Run from claim to end. Raises only a cancellation."""
        try:
            with turn_clock.entered(self._clock), call_tally.entered(self._tally):
                await self._claim_and_converse()
        finally:
            # After the end of the stream, which must not wait for it.
            await self._settle(self.new.id, self._turn.calls)

    async def _claim_and_converse(self) -> None:
        span = tracing.NO_SPAN
        try:
            span = tracing.begin_turn(
                turn_id=self.new.id,
                session_id=self.new.session_id,
                door=self._transport,
                is_own_trace=self._transport == "websocket",
            )
            span.set_attributes(identity.attributes())
            new = replace(self.new, traceparent=tracing.traceparent(span))
            claim = await self._claim(
                new,
                history_tokens=self._turn.history_tokens,
                beside_characters=self._turn.characters_beside,
            )
        except Exception as error:  # noqa: BLE001 - `join` raises it in every request that waits
            kept_traces.discard(span)
            self._refuse(error)
            return
        self._span = span
        tracing.enter(span, session_id=self.new.session_id)
        self.log.begins_session = not claim.history and claim.earlier == Earlier()
        self._claimed.set_result(None)
        failed: ServiceError | None = None
        try:
            failed = await self._converse(claim)
        except asyncio.CancelledError:
            # The event loop can cancel the task without `stop`. Never record that as completed.
            self._stopped_as = self._stopped_as or Outcome.CANCELLED
            raise
        finally:
            await self._end(failed)

    def _refuse(self, error: Exception) -> None:
        if isinstance(error, StorageError):
            # The claim may have been committed nevertheless. Storing this ending frees the session.
            self.unstored = refused_ending(self.new.key, error)
        self._close_log()
        if self.log.first_chunk is not None:
            self.log.first_chunk.drop()
        self._claimed.set_exception(error)
        # Mark as retrieved: asyncio logs it otherwise if the only waiting request was cancelled.
        self._claimed.exception()

    async def _converse(self, claim: Claim) -> ServiceError | None:
        """Run the conversation into the log. Return its error, or None if it succeeded."""
        if self._stopped_as is not None:
            return None
        self._conversing = self.task
        deadline = asyncio.timeout(self._timeout_seconds)
        try:
            async with deadline:
                await self._turn.run(
                    self._append,
                    claim.history,
                    earlier=claim.earlier,
                    key=self.new.key,
                    characters_per_token=claim.characters_per_token,
                )
        except ServiceError as error:
            return error
        except Exception as error:  # noqa: BLE001 - the stream must end with `error` and `end`
            return TurnTimedOut() if deadline.expired() else _unexpected(error)
        finally:
            self._conversing = None
        return None

    def _append(self, event: Event) -> None:
        if self._first_chunk_seconds is None and isinstance(event, Chunk):
            self._first_chunk_seconds = self._clock.total_seconds
            kept_traces.note_first_chunk(self._span, self._first_chunk_seconds)
        self.log.append(event)

    async def _end(self, error: ServiceError | None) -> None:
        """Store the ending, then end the stream: a client that has read `end` may ask again at
        once, and must find the session free.
        """
        error = error or self._stopped_for
        ending, is_stored = await self._store(error)
        if not is_stored and error is None:
            self.log.append(failure(StorageError()))
        self._close_log(outcome_event(ending))
        if self.log.first_chunk is not None:
            has_chunk = self._first_chunk_seconds is not None
            self.log.first_chunk.ended(ending.outcome, has_chunk=has_chunk)
        if self.unstored is not None:
            # The log that is stored later must equal the one that the client has seen.
            self.unstored = replace(self.unstored, log=encode(self.log.events))
        self._clock.stop()
        report(
            ending,
            self._turn,
            self._span,
            transport=self._transport,
            seconds=self._clock.seconds,
            tally=self._tally,
            is_stored=is_stored,
            was_lost=self._was_lost,
        )

    async def _store(self, error: ServiceError | None) -> tuple[Ending, bool]:
        """Return the ending that counts, and whether the store took it from this worker."""
        # This makes later calls of `stop` ineffective, so that store and stream agree.
        outcome = self._stopped_as = self._stopped_as or outcome_of(error)
        error_code = None if error is None else error.code
        ending = minimal_ending(self.new.key, outcome, error_code, self._turn.calls)
        try:
            with turn_clock.part(Part.LEX):
                self._append_last(error)
                shown = self.log.events
                ending = whole_ending(ending, self._turn, self._first_chunk_seconds, shown)
            is_stored = await self.sessions.finish(ending)
        except Exception:
            # Catch everything: no bug may leave the stream open and the session held.
            logger.exception("turn_not_stored", turn=self.new.id)
            self.unstored = ending
            return ending, False
        if is_stored:
            return ending, True
        self._was_lost = await self._is_closed_as_lost()
        return taken_over(ending), False

    async def _is_closed_as_lost(self) -> bool:
        try:
            turn = await self.sessions.turn(self.new.owner, self.new.id)
        except ServiceError:  # it was deleted with its session, or the store is away
            return False
        return turn.error_code == WORKER_LOST

    def _append_last(self, error: ServiceError | None) -> None:
        if error is None and self._stopped_as is Outcome.DISCONNECTED:
            # A client that resumes later must not take the partial answer for a complete one.
            error = TurnInterrupted()
        if error is not None:
            self.log.append(failure(error))

    def _close_log(self, *last: Event) -> None:
        self.readers.close()
        for event in (*last, End()):
            self.log.append(event)
        self.log.close()


def _unexpected(error: Exception) -> ServiceError:
    logger.error("turn_broke", exc_info=error)
    return ServiceError()
