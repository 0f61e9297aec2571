"""Collect the pending writes to the shared logs: new events, nudges, and logs to delete."""

import asyncio
from collections.abc import Iterable
from itertools import islice

from backend.domain.events import encode
from backend.storage.ports.shared_logs import SharedBatch
from backend.turns.event_log import EventLog

MOST_AT_ONCE = 100
"""The maximum number of logs in one write, because encoding them blocks the event loop."""


class Outbox:
    """Pending writes for exactly one writer, which calls `take`, then `written` or `put_back`."""

    def __init__(self) -> None:
        self.filled = asyncio.Event()
        self.emptied = asyncio.Event()
        self.emptied.set()
        self._written: dict[EventLog, int] = {}
        self._changed: dict[EventLog, None] = {}
        """An ordered set, oldest change first, so that busy logs cannot starve the others."""
        self._nudged: set[str] = set()
        self._forgotten: set[str] = set()
        self._on_its_way: dict[EventLog, int] = {}

    def add(self, log: EventLog) -> None:
        """Write this log from now on. It must begin with the first event of its turn."""
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
        # Logs that were forgotten or written to their end may still report changes.
        if log in self._written:
            self._changed[log] = None
            self._fill()

    def _fill(self) -> None:
        self.filled.set()
        self.emptied.clear()

    def take(self) -> tuple[list[SharedBatch], set[str], set[str]]:
        """Return and remove the next batches, the nudged workers, and the ids of logs to delete."""
        some = list(islice(self._changed, MOST_AT_ONCE))
        for log in some:
            del self._changed[log]
        if not self._changed:
            self.filled.clear()
        self._on_its_way = {log: log.last for log in some}
        batches = [
            SharedBatch(log.turn_id, after, log.last, encode(log.events[after:]))
            for log in some
            # A log that was closed without a new event has nothing to write.
            if (after := self._written[log]) < log.last
        ]
        nudged, self._nudged = self._nudged, set()
        forgotten, self._forgotten = self._forgotten, set()
        return batches, nudged, forgotten

    def written(self) -> None:
        """The last `take` was written."""
        for log, last in self._on_its_way.items():
            if log not in self._written:  # `forget` was called during the write
                continue
            self._written[log] = last
            if log.is_closed and log.last == last:
                del self._written[log]
        self._on_its_way = {}
        if not self.filled.is_set():
            self.emptied.set()

    def start_over(self) -> None:
        """Write all open logs again, because the result of the last write is unknown.

        Closed logs are dropped: the session store has them.
        """
        self._written = {log: 0 for log in self._written if not log.is_closed}
        self._changed = dict.fromkeys(self._written)

    def put_back(self, nudged: set[str], forgotten: set[str]) -> None:
        """The write of the last `take` has failed: queue it again."""
        self.start_over()
        self._nudged |= nudged
        self._forgotten |= forgotten
        self._fill()
