"""Things still to be written to the shared logs: ends of logs, nudges, and turns to forget."""

import asyncio
from collections.abc import Iterable
from itertools import islice

from backend.domain.events import encode
from backend.storage.ports.shared_logs import SharedBatch
from backend.turns.event_log import EventLog

MOST_AT_ONCE = 100
"""Logs in one write: to encode them holds up the event loop."""


class Outbox:
    """One writer calls `take`, and then `written` or `put_back`."""

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
        """Take the next batches, nudged workers and turns to forget out of it."""
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

    def start_over(self) -> None:
        """Nobody knows what was written and what is still there: all of it, once more.

        Logs that were closed meanwhile are left out: the session store has them.
        """
        self._written = {log: 0 for log in self._written if not log.is_closed}
        self._changed = dict.fromkeys(self._written)

    def put_back(self, nudged: set[str], forgotten: set[str]) -> None:
        self.start_over()
        self._nudged |= nudged
        self._forgotten |= forgotten
        self._fill()
