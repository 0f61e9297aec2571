"""The port that each stream protocol implements: it turns the events of a stream into frames.

Each stream has its own instance, so a framing may keep state. The transports (`EventStream` over
HTTP, `Connection` over a WebSocket) send frames without knowing their format.

Implementations: `sse/plain.py`, `sse/resumable.py`, `sse/legacy/`, `websocket/framing.py`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar

from backend.domain.errors import InvalidField, ServiceError
from backend.domain.events import Failure, failure
from backend.turns.event_log import Batch, Follower


class Framing(ABC):
    """Writes one stream. `opening` is called once, then `frames` for each batch.

    `heartbeat` is sent when the stream is idle. Every stream ends with `End`, where a framing can
    write a closing frame (`data: [DONE]`). A refused stream is a `Failure` and an `End`.
    """

    media_type: ClassVar[str] = "text/event-stream"
    headers: ClassVar[Mapping[str, str]] = {}
    """Additional headers of the response."""

    heartbeat: ClassVar[bytes] = b": \n\n"
    """A comment that keeps the connection open; empty if the protocol has no comments."""

    def __init__(self, follower: Follower) -> None:
        """`follower` knows the turn, its session, and the position from which it is read."""
        self._follower = follower

    def opening(self) -> bytes:
        """Return bytes to send at once, before the first event."""
        return b""

    @abstractmethod
    def frames(self, batch: Batch) -> list[bytes]:
        """Return the frames of a batch in order. An event may have several frames, or none."""


OpenFraming = Callable[[Follower], Framing]


def refusal(error: ServiceError) -> Failure:
    """Return a refusal as an event, for clients that can no longer get a status."""
    field = f"{error.field}: " if isinstance(error, InvalidField) else ""
    return failure(error, field + str(error))
