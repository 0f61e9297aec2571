"""The standard frames, for streams that cannot be resumed."""

from typing import Any, Protocol

from backend.api.stream_protocol import Framing
from backend.domain.conversation import as_json
from backend.turns.event_log import Batch


class Framed(Protocol):
    """The content of a frame: an event, or its replacement for clients with another format."""

    @property
    def event(self) -> str: ...

    @property
    def data(self) -> str | dict[str, Any]: ...


def frame(event: Framed) -> bytes:
    """Encode an event: LF line ends, `event:` before `data:`, one space after the colon."""
    return framed(event.event, event.data)


def framed(event: str, data: str | dict[str, Any]) -> bytes:
    """Encode data, text or an object, as a frame with this name."""
    data = data if isinstance(data, str) else as_json(data)
    if "\n" in data or "\r" in data:
        data = "\ndata: ".join(data.replace("\r\n", "\n").replace("\r", "\n").split("\n"))
    return f"event: {event}\ndata: {data}\n\n".encode()


class Plain(Framing):
    def frames(self, batch: Batch) -> list[bytes]:
        return [frame(event) for event in batch.events]
