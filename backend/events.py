"""What a client can see on a stream. A turn yields these, its log keeps them."""

from typing import Any

import msgspec

from backend.errors import ServiceError


class _Event(msgspec.Struct, frozen=True, tag_field="event"):
    @property
    def event(self) -> str:
        """The name on the wire; also the tag in the stored log."""
        return str(self.__struct_config__.tag)


class ToolUse(_Event, frozen=True, tag="tool_use"):
    """A tool is about to run: the bare name, as the first clients know it."""

    name: str


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


class Failure(_Event, frozen=True, tag="error"):
    code: str
    message: str
    retryable: bool
    retry_after: int | None = None
    """Whole seconds."""


class End(_Event, frozen=True, tag="end"):
    """The last event of every stream."""


Event = ToolUse | ToolCalled | ToolOutput | Chunk | Failure | End


def failure(error: ServiceError) -> Failure:
    retry_after = None if error.retry_after is None else max(1, round(error.retry_after))
    return Failure(
        code=error.code,
        message=str(error),
        retryable=error.retryable,
        retry_after=retry_after,
    )
