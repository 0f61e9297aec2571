"""How the events of one stream are written: the port that each protocol implements.

A request chooses its framing, and each stream has an instance of its own, so a framing may keep
state: which text is open, what was shown already. Whatever carries the stream (`EventStream` over
HTTP, the connection of a WebSocket) asks it for frames and knows nothing of their form.

Implementations: `sse/plain.py`, `sse/resumable.py`, `sse/legacy/`, `websocket/framing.py`. Another
protocol is another file.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar

from backend.domain.errors import InvalidField, ServiceError
from backend.domain.events import Failure, failure
from backend.telemetry import metrics
from backend.turns.event_log import Batch, Follower


class Framing(ABC):
    """One stream's way onto the wire. The calls come in this order: `opening` once, then `frames`
    for each batch, with `heartbeat` between them where it is quiet.

    The end needs no call: `End` is the last event of every stream, and a framing writes there what
    closes it (`data: [DONE]`). Nor does a refusal: a stream that is refused has a `Failure` and an
    `End`, and nothing before them.
    """

    media_type: ClassVar[str] = "text/event-stream"
    headers: ClassVar[Mapping[str, str]] = {}
    """Headers of the response, besides those that every stream has."""

    heartbeat: ClassVar[bytes] = b": \n\n"
    """A comment; nothing, if the protocol has no such thing."""

    def __init__(self, follower: Follower) -> None:
        """The turn, its session, and the position from which it is read."""
        self._follower = follower

    def opening(self) -> bytes:
        """Sent at once, before there is an event."""
        return b""

    @abstractmethod
    def frames(self, batch: Batch) -> list[bytes]:
        """The events in this protocol, in order: for each one any number of frames, or none."""


OpenFraming = Callable[[Follower], Framing]


def refusal(error: ServiceError) -> Failure:
    """A refusal as an event, where it cannot be a status any more, and counted as one."""
    metrics.refused(error.code)
    field = f"{error.field}: " if isinstance(error, InvalidField) else ""
    return failure(error, field + str(error))
