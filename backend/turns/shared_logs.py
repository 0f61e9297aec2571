"""The logs of resumable turns, shared with other workers while they run.

One task writes the events of this worker's turns, one reads those of other workers. Nobody
waits for either: followers of a turn here read its own log, and events that the shared logs
lose are in the session store as soon as the turn ends.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property

import msgspec
import structlog

from backend.aio.tasks import cancel_and_wait
from backend.domain.errors import StorageError
from backend.domain.events import End, Logged, decode
from backend.network.file_descriptors import exhaustion_of
from backend.storage.ports.shared_logs import SharedBatch, SharedLogStore
from backend.telemetry import metrics
from backend.turns.event_log import EventLog
from backend.turns.outbox import Outbox

logger = structlog.get_logger()

PAUSE_SECONDS = 0.025
"""Between two writes or reads: what comes meanwhile is one batch."""

BACK_OFF_SECONDS = 0.5
"""After a failure."""

LAST_WRITE_SECONDS = 1.0
"""So long a worker that leaves waits until its last events are written."""


class SharedLogs:
    """Writes this worker's logs to the store of shared logs, and reads those of others there."""

    def __init__(self, store: SharedLogStore, *, worker: str) -> None:
        self._store = store
        self._worker = worker
        self.wake = asyncio.Event()
        """Set when another worker asks this one to look at the session store."""
        self._outbox = Outbox()
        self._mirrors: defaultdict[str, set[EventLog]] = defaultdict(set)
        self._faults: dict[str, str | None] = {"writer": None, "reader": None}
        """What keeps each part from working; None before it was tried for the first time."""
        self._tasks: list[asyncio.Task[None]] = []

    def open(self) -> None:
        self._tasks = [
            asyncio.create_task(self._write_on(), name="shared logs: writer"),
            asyncio.create_task(self._read_on(), name="shared logs: reader"),
        ]

    async def close(self) -> None:
        try:
            async with asyncio.timeout(LAST_WRITE_SECONDS):
                await self._outbox.emptied.wait()
        except TimeoutError:
            logger.warning("last_events_not_shared")
        await cancel_and_wait(self._tasks)
        await self._store.close()

    @property
    def is_up(self) -> bool:
        return not self._faults

    @property
    def fault(self) -> str | None:
        """Why it is not up, if that is known."""
        return next(filter(None, self._faults.values()), None)

    def share(self, log: EventLog) -> None:
        """Let the followers on other workers read along from now on, until it is closed."""
        self._outbox.add(log)

    def nudge(self, worker: str) -> None:
        """Ask a worker to look at the session store now."""
        self._outbox.nudge(worker)

    def forget(self, turn_ids: Iterable[str]) -> None:
        """Keep nothing more of turns that have ended. What another worker is about to write in
        this very moment stays until it expires, some minutes later.
        """
        self._outbox.forget(turn_ids)

    def fill(self, log: EventLog) -> None:
        """Append to a log what its turn says on another worker, and close it at the end."""
        self._mirrors[log.turn_id].add(log)
        self.nudge(self._worker)  # so that the reader hears of it

    def leave(self, log: EventLog) -> None:
        """Append no more."""
        mirrors = self._mirrors.get(log.turn_id, set())
        mirrors.discard(log)
        if not mirrors:
            self._mirrors.pop(log.turn_id, None)

    async def _write_on(self) -> None:
        while True:
            # To read may work where to write does not, and writes are seldom without turns.
            while "writer" in self._faults:
                await self._check()
            await self._outbox.filled.wait()
            batches, nudged, forgotten = self._outbox.take()
            try:
                await self._store.write(batches, nudged=nudged, forgotten=forgotten)
            except Exception as error:  # noqa: BLE001 - whatever it is, there is a next time
                self._failed("writer", error)
                self._outbox.put_back(nudged, forgotten)
                await asyncio.sleep(BACK_OFF_SECONDS)
            else:
                self._worked("writer")
                self._outbox.written()
                await asyncio.sleep(PAUSE_SECONDS)

    async def _check(self) -> None:
        try:
            await self._store.check()
        except Exception as error:  # noqa: BLE001 - whatever it is, there is a next time
            self._failed("writer", error)
            self._outbox.start_over()
            await asyncio.sleep(BACK_OFF_SECONDS)
        else:
            self._worked("writer")

    async def _read_on(self) -> None:
        while True:
            asked = {turn: list(logs) for turn, logs in self._mirrors.items()}
            wanted = {turn: min(log.last for log in logs) for turn, logs in asked.items()}
            try:
                received = await self._store.read(self._worker, wanted)
            except Exception as error:  # noqa: BLE001 - whatever it is, there is a next time
                self._failed("reader", error)
                await asyncio.sleep(BACK_OFF_SECONDS)
                continue
            self._worked("reader")
            if received.is_nudged:
                self.wake.set()
            for batch in received.batches:
                self._pass_on(_Piece(batch), asked[batch.turn_id])
                await asyncio.sleep(0)  # in between, others have their turn
            await asyncio.sleep(PAUSE_SECONDS)

    def _pass_on(self, piece: "_Piece", asked: Iterable[EventLog]) -> None:
        """To the logs for which it was read. One that came meanwhile may stand before it."""
        mirrors = self._mirrors.get(piece.batch.turn_id, set())
        for log in mirrors.intersection(asked):
            try:
                is_over = _append(log, piece)
            except _Lost as lost:
                logger.warning("shared_log_lost", turn=log.turn_id, reason=str(lost))
                is_over = True
            if is_over:
                self.leave(log)

    def _failed(self, part: str, error: Exception) -> None:
        # Of a store's error the message is the cause; of a defect, the kind is all that is known.
        why = str(error) if isinstance(error, StorageError) else type(error).__name__
        known = self.fault
        self._faults[part] = exhaustion_of(error) or why
        if self.fault != known:
            logger.warning("shared_logs_down", part=part, error=self.fault)
        metrics.redis_is_up(is_up=False)

    def _worked(self, part: str) -> None:
        if part in self._faults:
            del self._faults[part]
            if self.is_up:
                logger.info("shared_logs_up")
        metrics.redis_is_up(is_up=self.is_up)


class _Lost(Exception):
    """The rest of a log cannot be read here. The session store will have it."""


class _Piece:
    """A batch, decoded once for all who read it, if anybody does."""

    def __init__(self, batch: SharedBatch) -> None:
        self.batch = batch

    @cached_property
    def events(self) -> Sequence[Logged]:
        """Raises: _Lost."""
        try:
            events = decode(self.batch.events)
        except msgspec.MsgspecError as error:
            raise _Lost("another version wrote it") from error
        if len(events) != self.batch.last - self.batch.after:
            raise _Lost("it is not what it says")
        return events


def _append(log: EventLog, piece: _Piece) -> bool:
    """Append what is new of a batch. Returns whether nothing comes after it."""
    batch = piece.batch
    if batch.last <= log.last:
        return False
    if batch.after > log.last:
        raise _Lost("events are missing")
    for event in piece.events[log.last - batch.after :]:
        log.append(event)
    if isinstance(piece.events[-1], End):
        log.close()
    return log.is_closed
