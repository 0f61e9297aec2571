"""The standard frames with ids, by which a client that was cut off reads on."""

from backend.api.sse.plain import frame
from backend.api.stream_protocol import Framing
from backend.turns.event_log import Batch

RETRY_MS = 1000
"""How long a browser whose connection broke waits before it comes back."""


class Resumable(Framing):
    """Each event has its id, which comes last: `@microsoft/fetch-event-source` takes an event for
    read as soon as it has seen its id, also when the connection breaks before the data.
    """

    def opening(self) -> bytes:
        """The reader's place, so that one that is cut off before any event comes back to it."""
        follower = self._follower
        return f"id: {follower.turn_id}-{follower.position}\nretry: {RETRY_MS}\n\n".encode()

    def frames(self, batch: Batch) -> list[bytes]:
        turn_id = self._follower.turn_id
        return [
            frame(event)[:-1] + f"id: {turn_id}-{position}\n\n".encode()
            for position, event in batch.placed()
        ]
