"""Sessions, turns, messages and tool calls: plain data that every other module may import."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Self

from backend.domain.usage import ModelCall, Spent, Usage


class Role(StrEnum):
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class Outcome(StrEnum):
    COMPLETED = "completed"
    FAILED = "failed"
    DISCONNECTED = "disconnected"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request.

    Sessions belong to `owner`. Tools act for `user_id`. If that is None, the caller is not
    authenticated, and tools use the `user_id` that the model passes. `key_name` is the name of the
    caller's API key. An operator sees the usage of all owners.
    """

    owner: str
    user_id: str | None = None
    key_name: str | None = None
    is_operator: bool = False


ANONYMOUS = Caller(owner="anonymous")


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model's request to run a tool. `arguments` is its raw text, which may be invalid JSON."""

    id: str
    name: str
    arguments: str


def now() -> datetime:
    return datetime.now(UTC)


def as_json(value: Any) -> str:
    """Return JSON in the one form that is stored, sent upstream and shown: nothing is escaped.

    Raises:
        ValueError: the value contains an infinity or a NaN, which JSON does not have.
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a session: the user's, the assistant's, or a tool's output."""

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
        """The size of the message in a request, in characters, to estimate its tokens."""
        calls = sum(len(call.name) + len(call.arguments) for call in self.tool_calls)
        return len(self.content) + calls


History = Sequence[Sequence[Message]]
"""The earlier messages of a session, in whole turns, oldest first."""


def in_turns(messages: Iterable[Message]) -> list[list[Message]]:
    """Group messages into turns: each user message begins one."""
    turns: list[list[Message]] = []
    for message in messages:
        if message.role is Role.USER or not turns:
            turns.append([])
        turns[-1].append(message)
    return turns


INTERRUPTED = {"error": {"code": "interrupted", "message": "The turn ended before the result."}}
"""The output of a call whose turn ended before the tool did."""


def unanswered(messages: Iterable[Message]) -> list[ToolCall]:
    """Return the calls without an output. Call ids may repeat in later rounds."""
    waiting: dict[str, ToolCall] = {}
    for message in messages:
        waiting |= {call.id: call for call in message.tool_calls}
        waiting.pop(message.tool_call_id or "", None)
    return list(waiting.values())


@dataclass(frozen=True, slots=True)
class LastTurn:
    """The newest turn of a session. `outcome` is None while it runs."""

    id: str
    outcome: Outcome | None
    finish_reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A conversation, as its owner sees it."""

    id: str
    created_at: datetime
    last_turn_at: datetime | None = None
    turns: int = 0
    usage: Usage = field(default_factory=Usage)
    """The reported usage of the answers."""
    spent: Spent = field(default_factory=Spent)
    """All model calls for the session, also abandoned ones and those for its summaries."""
    summary: str | None = None
    last_turn: LastTurn | None = None
    running_turn_id: str | None = None
    title: str | None = None
    """The owner's, or else that of `titles.title_of`; None before the first question."""

    @property
    def last_used_at(self) -> datetime:
        return self.last_turn_at or self.created_at

    @property
    def duration_seconds(self) -> float | None:
        """The time from creation to the last turn; None before the first turn."""
        if self.last_turn_at is None:
            return None
        # Earlier versions stored both times by the clocks of workers, which may differ.
        return max(0.0, (self.last_turn_at - self.created_at).total_seconds())


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnRecord:
    """The stored record of a turn. While it runs, `outcome` and `finished_at` are None."""

    id: str
    session_id: str
    started_at: datetime
    finished_at: datetime | None = None
    outcome: Outcome | None = None
    error_code: str | None = None
    finish_reason: str | None = None
    """The last completion's; None if there was none, or it is incomplete."""
    model: str | None = None
    rounds: int = 0
    usage: Usage = field(default_factory=Usage)
    """The reported usage of the answer."""
    calls: Sequence[ModelCall] = ()
    """All model calls of the turn, in their order, also retries and abandoned ones."""
    first_chunk_seconds: float | None = None
    traceparent: str | None = None
    """The turn's span. Only set where a caller needs it for a link."""
