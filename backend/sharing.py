"""The logs of resumable turns, shared with other workers while they run.

One task writes what this worker's turns say, one reads what the turns of others say. Nobody
waits for either: who follows a turn here reads its own log, and what the shared logs lose
the session store has as soon as the turn ends.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import islice

import msgspec
import structlog

from backend.events import End, Event, decode, encode
from backend.log import EventLog
from backend.storage.ports.shared_logs import SharedBatch, SharedLogs
from backend.telemetry import metrics

logger = structlog.get_logger()

PAUSE_SECONDS = 0.025
"""Between two writes or reads: what comes meanwhile is one batch."""

BACK_OFF_SECONDS = 0.5
"""After a failure."""

MOST_AT_ONCE = 100
"""Logs in one write: to encode them holds up the event loop."""

UNTRIED = "untried"
"""The fault that there is before Redis was asked for the first time."""

LAST_WORDS_SECONDS = 1.0
"""So long a worker that leaves waits until its last events are written."""


class Sharing:
    def __init__(self, logs: SharedLogs, *, worker: str) -> None:
        self._logs = logs
        self._worker = worker
        self.news = asyncio.Event()
        """Set when another worker asks this one to look at the session store."""
        self._outbox = _Outbox()
        self._mirrors: defaultdict[str, set[EventLog]] = defaultdict(set)
        self._faults = {UNTRIED}
        self._tasks: list[asyncio.Task[None]] = []

    def open(self) -> None:
        self._tasks = [
            asyncio.create_task(self._write_on(), name="shared logs: writer"),
            asyncio.create_task(self._read_on(), name="shared logs: reader"),
        ]

    async def close(self) -> None:
        try:
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                await self._outbox.emptied.wait()
        except TimeoutError:
            logger.warning("last_words_not_shared")
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        await self._logs.close()

    @property
    def is_up(self) -> bool:
        return not self._faults

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
            await self._outbox.filled.wait()
            batches, nudged, forgotten = self._outbox.take()
            try:
                await self._logs.write(batches, nudged=nudged, forgotten=forgotten)
            except Exception as error:  # noqa: BLE001 - whatever it is, there is a next time
                self._failed("writer", error)
                self._outbox.put_back(nudged, forgotten)
                await asyncio.sleep(BACK_OFF_SECONDS)
            else:
                self._worked("writer")
                self._outbox.written()
                await asyncio.sleep(PAUSE_SECONDS)

    async def _read_on(self) -> None:
        while True:
            asked = {turn: list(logs) for turn, logs in self._mirrors.items()}
            wanted = {turn: min(log.last for log in logs) for turn, logs in asked.items()}
            try:
                news = await self._logs.read(self._worker, wanted)
            except Exception as error:  # noqa: BLE001 - whatever it is, there is a next time
                self._failed("reader", error)
                await asyncio.sleep(BACK_OFF_SECONDS)
                continue
            self._worked("reader")
            if news.is_nudged:
                self.news.set()
            for batch in news.batches:
                self._pass_on(_Piece(batch), asked[batch.turn_id])
                await asyncio.sleep(0)  # in between, others have their turn
            await asyncio.sleep(PAUSE_SECONDS)

    def _pass_on(self, piece: "_Piece", asked: Iterable[EventLog]) -> None:
        """To those for which it was read. Who came meanwhile may stand before it."""
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
        if self._faults <= {UNTRIED}:
            logger.warning("shared_logs_down", part=part, error=repr(error.__cause__ or error))
        self._faults = self._faults - {UNTRIED} | {part}
        metrics.redis_is_up(is_up=False)

    def _worked(self, part: str) -> None:
        if self._faults and not self._faults - {UNTRIED, part}:
            logger.info("shared_logs_up")
        self._faults -= {UNTRIED, part}
        metrics.redis_is_up(is_up=self.is_up)


class _Lost(Exception):
    """The rest of a log cannot be read here. The session store will have it."""


class _Piece:
    """A batch, decoded once for all who read it, if anybody does."""

    def __init__(self, batch: SharedBatch) -> None:
        self.batch = batch

    @cached_property
    def events(self) -> Sequence[Event]:
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


class _Outbox:
    """What is still to be written: the ends of logs, and nudges."""

    def __init__(self) -> None:
        self.filled = asyncio.Event()
        self.emptied = asyncio.Event()
        self.emptied.set()
        self._written: dict[EventLog, int] = {}
        self._changed: dict[EventLog, None] = {}
        """In the order in which they changed: those that always do must not go first."""
        self._nudged: set[str] = set()
        self._forgotten: set[str] = set()
        self._on_its_way: dict[EventLog, int] = {}

    def add(self, log: EventLog) -> None:
        """A log that begins with the first event of its turn."""
        self._written[log] = 0
        log.on_change = self._note

    def nudge(self, worker: str) -> None:
        self._nudged.add(worker)
        self._fill()

    def forget(self, turn_ids: Iterable[str]) -> None:
        self._forgotten.update(turn_ids)
        for log in [log for log in self._written if log.turn_id in self._forgotten]:
            del self._written[log]
            self._changed.pop(log, None)
        self._fill()

    def _note(self, log: EventLog) -> None:
        if log in self._written:
            self._changed[log] = None
            self._fill()

    def _fill(self) -> None:
        self.filled.set()
        self.emptied.clear()

    def take(self) -> tuple[list[SharedBatch], set[str], set[str]]:
        """What is to be written next. `written` or `put_back` must follow."""
        some = list(islice(self._changed, MOST_AT_ONCE))
        for log in some:
            del self._changed[log]
        if not self._changed:
            self.filled.clear()
        self._on_its_way = {log: log.last for log in some}
        batches = [
            SharedBatch(log.turn_id, after, log.last, encode(log.events[after:]))
            for log in some
            if (after := self._written[log]) < log.last
        ]
        nudged, self._nudged = self._nudged, set()
        forgotten, self._forgotten = self._forgotten, set()
        return batches, nudged, forgotten

    def written(self) -> None:
        for log, last in self._on_its_way.items():
            if log not in self._written:  # it was forgotten meanwhile
                continue
            self._written[log] = last
            if log.is_closed and log.last == last:
                del self._written[log]
        self._on_its_way = {}
        if not self.filled.is_set():
            self.emptied.set()

    def put_back(self, nudged: set[str], forgotten: set[str]) -> None:
        """Nobody knows what was written and what is still there: all of it, once more.

        Logs that were closed meanwhile are left out: the session store has them.
        """
        self._written = {log: 0 for log in self._written if not log.is_closed}
        self._changed = dict.fromkeys(self._written)
        self._nudged |= nudged
        self._forgotten |= forgotten
        self._fill()
