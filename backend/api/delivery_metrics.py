"""The metrics of one stream to one client, for every transport."""

from collections.abc import Sequence
from typing import Literal, Self

from backend.domain.events import Chunk, Event, Logged, ToolCalled, ToolOutput, Transport
from backend.telemetry import metrics
from backend.telemetry.turn_clock import NO_TURN, Sending
from backend.turns.event_log import Follower

Window = Literal["before_first_chunk", "streaming", "tool"]
"""What a client was waiting for when it left."""


class Delivery:
    """Counts one stream, from the start of a `with` block to its end.

    If the follower has unread events at the end, the client has left early. `is_asker` is False
    for a resumed stream.
    """

    def __init__(self, follower: Follower, *, transport: Transport, is_asker: bool = False) -> None:
        self._follower = follower
        self._transport = transport
        self._first_chunk = follower.first_chunk
        self._is_stalled = False
        self.sending = Sending(follower.clock if is_asker else NO_TURN)
        """A `with` block around each message to the client."""

    def __enter__(self) -> Self:
        metrics.stream_opened(self._transport)
        return self

    def sent(self, events: Sequence[Event]) -> None:
        """These events were sent to the client."""
        if self._first_chunk is not None and any(isinstance(event, Chunk) for event in events):
            self._first_chunk.sent()
            self._first_chunk = None

    def stalled(self) -> None:
        """The client has stopped reading; its connection gets closed."""
        self._is_stalled = True

    def __exit__(self, *_: object) -> None:
        metrics.stream_closed(self._transport)
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
