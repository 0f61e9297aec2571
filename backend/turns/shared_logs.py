"""Share the logs of running resumable turns with other workers.

One task writes the events of this worker's turns, another reads those of other workers. Turns and
local followers never wait for them. Events that the shared logs lose are in the session store when
the turn has ended.
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
"""The pause between two writes or reads. Events that arrive in it form one batch."""

BACK_OFF_SECONDS = 0.5
"""The pause after a failed read or write."""

LAST_WRITE_SECONDS = 1.0
"""How long a leaving worker waits until its last events are written."""


class SharedLogs:
    """Writes this worker's logs to the shared store, and reads other workers' logs from it."""

    def __init__(self, store: SharedLogStore, *, worker: str) -> None:
        self._store = store
        self._worker = worker
        self.wake = asyncio.Event()
        """Set when another worker asks this one to look at the session store."""
        self._outbox = Outbox()
        self._mirrors: defaultdict[str, set[EventLog]] = defaultdict(set)
        self._faults: dict[str, str | None] = {"writer": None, "reader": None}
        """The error of each part that does not work; None until its first attempt."""
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
        """Why the shared logs are not up; None if they are, or before the first attempt."""
        return next(filter(None, self._faults.values()), None)

    def share(self, log: EventLog) -> None:
        """Let followers on other workers read this log until it is closed."""
        self._outbox.add(log)

    def nudge(self, worker: str) -> None:
        """Ask a worker to look at the session store now."""
        self._outbox.nudge(worker)

    def forget(self, turn_ids: Iterable[str]) -> None:
        """Delete shared logs. A write that another worker has just begun stays until it expires."""
        self._outbox.forget(turn_ids)

    def fill(self, log: EventLog) -> None:
        """Append the events of a turn on another worker to this log, and close it at its end."""
        self._mirrors[log.turn_id].add(log)
        self.nudge(self._worker)  # end the reader's blocking read, so that it includes this log

    def leave(self, log: EventLog) -> None:
        mirrors = self._mirrors.get(log.turn_id, set())
        mirrors.discard(log)
        if not mirrors:
            self._mirrors.pop(log.turn_id, None)

    async def _write_on(self) -> None:
        while True:
            # Do not wait for the next turn to find out that writing works again. The reader cannot
            # tell: a replica, for example, only answers reads.
            while "writer" in self._faults:
                await self._check()
            await self._outbox.filled.wait()
            batches, nudged, forgotten = self._outbox.take()
            try:
                await self._store.write(batches, nudged=nudged, forgotten=forgotten)
            except Exception as error:  # noqa: BLE001 - the loop must survive and try again
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
        except Exception as error:  # noqa: BLE001 - the loop must survive and try again
            self._failed("writer", error)
            self._outbox.start_over()
            await asyncio.sleep(BACK_OFF_SECONDS)
        else:
            self._worked("writer")

    async def _read_on(self) -> None:
        while True:
            asked = {turn: list(logs) for turn, logs in self._mirrors.items()}
            # Followers of one turn may be at different places: read from the earliest.
            wanted = {turn: min(log.last for log in logs) for turn, logs in asked.items()}
            try:
                received = await self._store.read(self._worker, wanted)
            except Exception as error:  # noqa: BLE001 - the loop must survive and try again
                self._failed("reader", error)
                await asyncio.sleep(BACK_OFF_SECONDS)
                continue
            self._worked("reader")
            if received.is_nudged:
                self.wake.set()
            for batch in received.batches:
                self._pass_on(_Piece(batch), asked[batch.turn_id])
                await asyncio.sleep(0)  # let other tasks run between two batches
            await asyncio.sleep(PAUSE_SECONDS)

    def _pass_on(self, piece: "_Piece", asked: Iterable[EventLog]) -> None:
        """Append to the logs for which it was read. Logs added since may need earlier events."""
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
        # Only the message of a StorageError is safe to log. Others may quote data.
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
    """The shared log cannot be read further. The session store will have the rest."""


class _Piece:
    """A batch that is decoded when the first log needs it, once for all logs."""

    def __init__(self, batch: SharedBatch) -> None:
        self.batch = batch

    @cached_property
    def events(self) -> Sequence[Logged]:
        """The decoded events. Raises: _Lost, if they cannot be decoded or are not complete."""
        try:
            events = decode(self.batch.events)
        except msgspec.MsgspecError as error:
            raise _Lost("another version wrote it") from error
        if len(events) != self.batch.last - self.batch.after:
            raise _Lost("its number of events does not match its positions")
        return events


def _append(log: EventLog, piece: _Piece) -> bool:
    """Append what the log lacks, and return whether it is closed now. Raises: _Lost."""
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
