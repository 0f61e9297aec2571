"""What a conversation is made of. Plain data that every other module may import."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Self


class Role(StrEnum):
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class Outcome(StrEnum):
    """How a turn ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    DISCONNECTED = "disconnected"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Sessions belong to `owner`. `user_id` is whom tools act for; None when nobody was
    authenticated, and only then is a `user_id` that the model passes believed.
    """

    owner: str
    user_id: str | None = None


ANONYMOUS = Caller(owner="anonymous")


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, as the upstream reported them."""

    input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: Self) -> "Usage":
        return Usage(
            self.input_tokens + other.input_tokens, self.output_tokens + other.output_tokens
        )


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A request of the model; `arguments` is the text it wrote, which may not even be JSON."""

    id: str
    name: str
    arguments: str


def now() -> datetime:
    return datetime.now(UTC)


def as_json(value: Any) -> str:
    """JSON as it is stored, sent upstream and shown alike: with spaces, nothing escaped.

    Raises:
        ValueError: there is an infinity or a NaN in it, which JSON does not know.
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A stored record with a role."""

    role: Role
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    tool_name: str | None = None
    created_at: datetime = field(default_factory=now, compare=False)

    @classmethod
    def user(cls, content: str) -> Self:
        return cls(role=Role.USER, content=content)

    @classmethod
    def assistant(cls, content: str, tool_calls: Iterable[ToolCall] = ()) -> Self:
        return cls(role=Role.ASSISTANT, content=content, tool_calls=tuple(tool_calls))

    @classmethod
    def tool(cls, call: ToolCall, output: str) -> Self:
        return cls(role=Role.TOOL, content=output, tool_call_id=call.id, tool_name=call.name)

    @property
    def characters(self) -> int:
        """What the message weighs in a request, before tokens are counted."""
        calls = sum(len(call.name) + len(call.arguments) for call in self.tool_calls)
        return len(self.content) + calls


History = Sequence[Sequence[Message]]
"""The earlier messages of a session, in whole turns, oldest first."""

INTERRUPTED = {"error": {"code": "interrupted", "message": "The turn ended before the result."}}
"""The output of a call whose turn ended first."""


def unanswered(messages: Iterable[Message]) -> list[ToolCall]:
    """The calls that have no output yet. Ids of calls may come again in a later round."""
    waiting: dict[str, ToolCall] = {}
    for message in messages:
        waiting |= {call.id: call for call in message.tool_calls}
        waiting.pop(message.tool_call_id or "", None)
    return list(waiting.values())


@dataclass(frozen=True, slots=True)
class LastTurn:
    """The newest turn of a session; its `outcome` is None while it runs."""

    id: str
    outcome: Outcome | None
    finish_reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A conversation, as its owner sees it from outside."""

    id: str
    created_at: datetime
    last_turn_at: datetime | None = None
    turns: int = 0
    usage: Usage = Usage()
    summary: str | None = None
    last_turn: LastTurn | None = None

    @property
    def duration_seconds(self) -> float | None:
        """From its beginning to its last turn; None before the first."""
        if self.last_turn_at is None:
            return None
        # Those of earlier versions were told by the clocks of two workers.
        return max(0.0, (self.last_turn_at - self.created_at).total_seconds())


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnRecord:
    """A turn, as it is kept. While it runs, `outcome` and `finished_at` are None."""

    id: str
    session_id: str
    started_at: datetime
    finished_at: datetime | None = None
    outcome: Outcome | None = None
    error_code: str | None = None
    finish_reason: str | None = None
    """Of the last completion; None if that one was not whole, or there was none."""
    model: str | None = None
    rounds: int = 0
    usage: Usage = Usage()
    first_chunk_seconds: float | None = None
    traceparent: str | None = None
    """Of its span, where somebody is to be linked to it."""
