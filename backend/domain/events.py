"""What a client can see on a stream. A turn emits these, its log keeps them."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import msgspec

from backend.domain.errors import ServiceError

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


class TokenUsage(msgspec.Struct, frozen=True):
    """Tokens of all completions of a turn together, under the upstream's names."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class TurnOutcome(_Event, frozen=True, tag="outcome"):
    """How the turn ended; stands right before `End`. Logs of older versions have none.

    Words that only a later version uses are passed on as they are.
    """

    outcome: str
    finish_reason: str | None
    """Of the last completion; None if that one was not whole, or there was none."""
    model: str | None
    """The one that answered last; None if none did."""
    rounds: int
    usage: TokenUsage

    @property
    def data(self) -> dict[str, Any]:
        """Whole, with the fields that are None."""
        return {
            "outcome": self.outcome,
            "finish_reason": self.finish_reason,
            "model": self.model,
            "rounds": self.rounds,
            "usage": msgspec.to_builtins(self.usage),
        }


class End(_Event, frozen=True, tag="end"):
    """The last event of every stream."""

    @property
    def data(self) -> str:
        return ""


Event = ToolUse | ToolCalled | ToolOutput | Chunk | Failure | TurnOutcome | End

Unknown = msgspec.Raw
"""An event that only a later version knows. It keeps its position in the log, and is not shown."""

Logged = Event | Unknown


def failure(error: ServiceError, message: str | None = None) -> Failure:
    return Failure(
        code=error.code,
        message=message or str(error),
        retryable=error.retryable,
        retry_after=error.retry_after_seconds,
    )


class _Tagged(msgspec.Struct):
    event: str


_decode_all = msgspec.json.Decoder(list[Event]).decode
_split = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_tag = msgspec.json.Decoder(_Tagged).decode
_decode_one = msgspec.json.Decoder(Event).decode
_KNOWN = frozenset(event.__struct_config__.tag for event in get_args(Event))


def encode(events: Sequence[Logged]) -> bytes:
    """As they are kept and passed on: one JSON list."""
    return msgspec.json.encode(events)


def decode(events: bytes) -> list[Logged]:
    """What `encode` made, in this version or in another one.

    Raises:
        msgspec.MsgspecError: it is no list of events, or a known one has another shape.
    """
    try:
        return [*_decode_all(events)]
    except msgspec.ValidationError:
        return [_decode_if_known(event) for event in _split(events)]


def _decode_if_known(event: msgspec.Raw) -> Logged:
    if _decode_tag(event).event in _KNOWN:
        known: Event = _decode_one(event)
        return known
    return event.copy()  # or it would keep the whole log in memory
