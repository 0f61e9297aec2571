"""The events that clients receive. A turn emits them, and its log stores them."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import msgspec

from backend.domain.errors import ServiceError

Transport = Literal["sse", "websocket", "ai_sdk", "ag_ui", "openai"]
"""The protocol that carries events to a client: our own two, and those of other front ends."""


class _Event(msgspec.Struct, frozen=True, tag_field="event"):
    @property
    def event(self) -> str:
        """The event's name on the wire, and its tag in the stored log."""
        return str(self.__struct_config__.tag)

    @property
    def fields(self) -> dict[str, Any]:
        """The fields on the wire, in this order. Framings with a place for the round add it."""
        fields = {name: getattr(self, name) for name in self.__struct_fields__ if name != "round"}
        return {name: value for name, value in fields.items() if value is not None}

    @property
    def data(self) -> str | dict[str, Any]:
        """The data on the wire: text, or an object."""
        return self.fields


# In the stored log, the first round takes no bytes: most turns have no other one. Workers of older
# versions ignore the field.
class ToolUse(_Event, frozen=True, tag="tool_use", omit_defaults=True):
    """A tool is about to run. Only its bare name, for the product's first clients."""

    name: str
    round: int = 1
    """The round of the turn, from 1. This and all other events of a round have the same number."""

    @property
    def data(self) -> str:
        return self.name


class ToolCalled(_Event, frozen=True, tag="tool_call", omit_defaults=True):
    """A tool is about to run, with id and arguments. Arguments that are no JSON object are text."""

    id: str
    name: str
    arguments: dict[str, Any] | str
    round: int = 1


class ToolOutput(_Event, frozen=True, tag="tool_output", omit_defaults=True):
    """The output of a call. There is one for each call, in the order in which they complete."""

    name: str
    output: dict[str, Any]
    id: str
    round: int = 1


class Chunk(_Event, frozen=True, tag="chunk", omit_defaults=True):
    text: str
    round: int = 1

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
    """The tokens of all completions of a turn, with the upstream's field names."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class TurnOutcome(_Event, frozen=True, tag="outcome"):
    """How the turn ended. It comes right before `End`; logs of older versions lack it.

    `outcome` is a plain string, so that values of a later version pass unchanged.
    """

    outcome: str
    finish_reason: str | None
    """The last completion's; None if there was none, or it is incomplete."""
    model: str | None
    """The model that answered last; None if none did."""
    rounds: int
    usage: TokenUsage

    @property
    def data(self) -> dict[str, Any]:
        """All fields, including those that are None."""
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


OfRound = ToolUse | ToolCalled | ToolOutput | Chunk
"""The events that belong to a round."""

Event = ToolUse | ToolCalled | ToolOutput | Chunk | Failure | TurnOutcome | End

Unknown = msgspec.Raw
"""An event of a later version. It keeps its position in the log, and is not shown."""

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
    """Encode events for storage and for other workers, as one JSON list."""
    return msgspec.json.encode(events)


def decode(events: bytes) -> list[Logged]:
    """Decode the output of `encode`, from this or another version.

    Raises:
        msgspec.MsgspecError: this is not a list of events, or a known event has another shape.
    """
    try:
        # The fast path, for logs without events of a later version.
        return [*_decode_all(events)]
    except msgspec.ValidationError:
        return [_decode_if_known(event) for event in _split(events)]


def _decode_if_known(event: msgspec.Raw) -> Logged:
    if _decode_tag(event).event in _KNOWN:
        known: Event = _decode_one(event)
        return known
    return event.copy()  # without a copy, this slice would keep the whole log in memory
