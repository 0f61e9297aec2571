"""The metrics of one stream to one client, for every transport."""

import time
from collections.abc import Sequence
from typing import Literal, Self

from backend.domain.events import Chunk, Event, Logged, ToolCalled, ToolOutput, Transport
from backend.telemetry import metrics
from backend.telemetry.turn_clock import NO_TURN, Sending
from backend.turns.event_log import Follower

OBJECTIVE_SECONDS = 2.0
"""The time in which a first chunk should arrive; see `deploy/prometheus/rules/objectives.yml`."""

Window = Literal["before_first_chunk", "streaming", "tool"]
"""What a client was waiting for when it left."""


class Delivery:
    """Counts one stream, from the start of a `with` block to its end.

    If the follower has unread events at the end, the client has left early. `asked_at` is when the
    query arrived, by `time.perf_counter`; None for a resumed stream.
    """

    def __init__(
        self, follower: Follower, *, transport: Transport, asked_at: float | None = None
    ) -> None:
        self._follower = follower
        self._transport = transport
        self._asked_at = asked_at
        self._is_stalled = False
        self.sending = Sending(NO_TURN if asked_at is None else follower.clock)
        """A `with` block around each message to the client."""

    def __enter__(self) -> Self:
        metrics.stream_opened(self._transport)
        return self

    def sent(self, events: Sequence[Event]) -> None:
        """These events were sent to the client."""
        if self._asked_at is not None and any(isinstance(event, Chunk) for event in events):
            metrics.first_chunk_sent(self._transport, time.perf_counter() - self._asked_at)
            self._asked_at = None

    def stalled(self) -> None:
        """The client has stopped reading; its connection gets closed."""
        self._is_stalled = True

    def __exit__(self, *_: object) -> None:
        metrics.stream_closed(self._transport)
        if self._asked_at is not None and time.perf_counter() - self._asked_at > OBJECTIVE_SECONDS:
            # Otherwise the worst waits would be missing among the first chunks.
            metrics.first_chunk_missed("ended" if self._follower.is_at_end else "left")
        if self._is_stalled:
            metrics.client_was_slow()
        elif not self._follower.is_at_end:
            metrics.client_left(_window(self._follower.seen))


def _window(seen: Sequence[Logged]) -> Window:
    called = {event.id for event in seen if isinstance(event, ToolCalled)}
    answered = {event.id for event in seen if isinstance(event, ToolOutput)}
    if called - answered:
        return "tool"
    return "streaming" if any(isinstance(event, Chunk) for event in seen) else "before_first_chunk"
