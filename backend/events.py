"""What a client can see on a stream. A turn yields these, its log keeps them."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from backend.errors import ServiceError

Transport = Literal["sse", "websocket"]
"""What carries the events to a client."""


class _Event(msgspec.Struct, frozen=True, tag_field="event"):
    @property
    def event(self) -> str:
        """The name on the wire; also the tag in the stored log."""
        return str(self.__struct_config__.tag)

    @property
    def data(self) -> str | dict[str, Any]:
        """What the wire carries: a text, or an object with the fields in this order."""
        fields = {name: getattr(self, name) for name in self.__struct_fields__}
        return {name: value for name, value in fields.items() if value is not None}


class ToolUse(_Event, frozen=True, tag="tool_use"):
    """A tool is about to run: the bare name, as the first clients know it."""

    name: str

    @property
    def data(self) -> str:
        return self.name


class ToolCalled(_Event, frozen=True, tag="tool_call"):
    """The same with its id. Arguments that are not a JSON object stay the text they are."""

    id: str
    name: str
    arguments: dict[str, Any] | str


class ToolOutput(_Event, frozen=True, tag="tool_output"):
    """What came of a call; one for every call, in the order of completion."""

    name: str
    output: dict[str, Any]
    id: str


class Chunk(_Event, frozen=True, tag="chunk"):
    text: str

    @property
    def data(self) -> str:
        return self.text


class Failure(_Event, frozen=True, tag="error"):
    code: str
    message: str
    retryable: bool
    retry_after: int | None = None
    """Whole seconds."""


class End(_Event, frozen=True, tag="end"):
    """The last event of every stream."""

    @property
    def data(self) -> str:
        return ""


Event = ToolUse | ToolCalled | ToolOutput | Chunk | Failure | End


def failure(error: ServiceError, message: str | None = None) -> Failure:
    return Failure(
        code=error.code,
        message=message or str(error),
        retryable=error.retryable,
        retry_after=error.retry_after_seconds,
    )


_decoder = msgspec.json.Decoder(list[Event])


def encode(events: Sequence[Event]) -> bytes:
    """As they are kept and passed on: one JSON list."""
    return msgspec.json.encode(events)


def decode(events: bytes) -> list[Event]:
    """Raises: msgspec.MsgspecError."""
    return _decoder.decode(events)
