"""How long the client of a turn waits for its first chunk. Each turn is counted at most once."""

import asyncio
import time
from collections.abc import Callable

from backend.domain.events import Transport
from backend.telemetry import metrics

PROMISED_SECONDS = 2.0
"""The objective for first chunks, as in `deploy/prometheus/rules/objectives.yml`."""


class FirstChunk:
    """The wait of one turn for its first chunk, from `asked_at` by `time.perf_counter`.

    Only the time in which somebody reads counts, so a client that comes back is not late because it
    was away. The wait is observed when the chunk is sent. It is counted as missed if it lasted
    longer than `PROMISED_SECONDS`, and the turn has ended and nobody has come back for
    `grace_seconds`. A client that leaves earlier says nothing about Lex.
    """

    def __init__(
        self,
        transport: Transport,
        asked_at: float,
        *,
        grace_seconds: float = 0.0,
        forget: Callable[[], object] = lambda: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._transport = transport
        self._grace_seconds = grace_seconds
        self._forget = forget
        self._clock = clock
        self._waited_seconds = 0.0
        self._waits_since: float | None = asked_at
        self._outcome = ""
        self._timer: asyncio.TimerHandle | None = None
        self._is_counted = False

    def came(self) -> None:
        """A reader has come, and maybe come back."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waits_since is None:
            self._waits_since = self._clock()

    def left(self) -> None:
        """The last reader has left."""
        self._stop_waiting()
        if self._outcome:
            self._await_return()

    def sent(self) -> None:
        """A chunk was sent to a client. Only the first call counts."""
        if not self._is_counted:
            self._stop_waiting()
            self._close()
            metrics.first_chunk_sent(self._transport, self._waited_seconds)

    def ended(self, outcome: str, *, has_chunk: bool) -> None:
        """The turn has ended. A chunk that it has may still be on its way to the client."""
        self._outcome = outcome
        if not has_chunk:
            self.settle()
        elif self._waits_since is None:
            self._await_return()

    def settle(self) -> None:
        """Count the chunk as missed now, if the client has waited for it too long."""
        if self._is_counted:
            return
        self._stop_waiting()
        self._close()
        if self._waited_seconds > PROMISED_SECONDS:
            metrics.first_chunk_missed(self._outcome, self._transport)

    def drop(self) -> None:
        """Count nothing: the turn was refused."""
        self._close()

    def _stop_waiting(self) -> None:
        if self._waits_since is not None:
            self._waited_seconds += self._clock() - self._waits_since
            self._waits_since = None

    def _await_return(self) -> None:
        if self._is_counted:
            return
        if self._grace_seconds:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._grace_seconds, self.settle)
        else:
            self.settle()

    def _close(self) -> None:
        self._is_counted = True
        if self._timer is not None:
            self._timer.cancel()
        self._forget()


class FirstChunks:
    """The first chunks of this worker's turns that are neither sent nor missed."""

    def __init__(self) -> None:
        self._open: dict[str, FirstChunk] = {}

    def expect(
        self, turn_id: str, transport: Transport, asked_at: float, *, grace_seconds: float
    ) -> FirstChunk:
        self._open[turn_id] = first_chunk = FirstChunk(
            transport,
            asked_at,
            grace_seconds=grace_seconds,
            forget=lambda: self._open.pop(turn_id, None),
        )
        return first_chunk

    def of(self, turn_id: str) -> FirstChunk | None:
        """The first chunk of a turn, if its client has not got it. Also after the turn's end."""
        return self._open.get(turn_id)

    def close(self) -> None:
        """Count now: nobody can come back to this worker."""
        for first_chunk in list(self._open.values()):
            first_chunk.settle()
