"""The standard frames with ids, from which a disconnected client can resume."""

from backend.api.sse.plain import frame, framed
from backend.api.stream_protocol import Framing
from backend.domain.events import Chunk, Event, ToolCalled, ToolOutput
from backend.turns.event_log import Batch

RETRY_MS = 1000
"""How long a browser waits before it reconnects."""


class Resumable(Framing):
    """Frames with an id, which is the last line of each frame.

    `@microsoft/fetch-event-source` stores an id as soon as it arrives. With the id first, a client
    that is cut off before the data would skip that event when it resumes.
    """

    def opening(self) -> bytes:
        """Return the client's place, so that it can resume even if it gets no event."""
        follower = self._follower
        return f"id: {follower.turn_id}-{follower.position}\nretry: {RETRY_MS}\n\n".encode()

    def frames(self, batch: Batch) -> list[bytes]:
        turn_id = self._follower.turn_id
        return [
            _frame(event)[:-1] + f"id: {turn_id}-{position}\n\n".encode()
            for position, event in batch.placed()
        ]


def _frame(event: Event) -> bytes:
    """The standard frame. Calls and outputs also name their round, which groups calls made at once.

    Clients of plain streams get exactly the fields that they know.
    """
    match event:
        case Chunk():  # first, because most events are chunks, and each other class costs 0.2 µs
            return frame(event)
        case ToolCalled() | ToolOutput():
            return framed(event.event, {**event.fields, "round": event.round})
        case _:
            return frame(event)
