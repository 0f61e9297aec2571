"""The port to a chat model: what it is asked and what it streams back."""

from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal, Protocol

from backend.domain.conversation import Message, ToolCall, Usage

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "other"]
"""`length` and `content_filter`: the answer was cut. `other`: a reason of that server's own."""


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as the model sees it; `parameters` is a JSON schema."""

    name: str
    description: str
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionRequest:
    prompt: str
    messages: Sequence[Message]
    history_length: int = 0
    """How many of `messages`, from the first, are earlier turns. A model that takes less is asked
    without the oldest of these turns."""
    tools: Sequence[ToolSpec] = ()
    max_tokens: int | None = None
    """Bounds the completion more tightly than any other."""
    is_awaited: bool = True
    """Whether somebody waits for the answer. What nobody waits for is asked once and never later,
    and only of a model that has plenty left for those who wait."""
    is_again: bool = False
    """Whether the list of models was asked before. One that says when to come back, or is busy, is
    then asked once and not again and again."""
    attempts: Iterator[int] = field(default_factory=lambda: count(1), compare=False)
    """Numbers the calls that one completion costs, over all models."""
    thinks_least: bool = False
    """Whether the model is to reason as little as it can, since it ran out of tokens otherwise."""
    silent: set[str] = field(default_factory=set, compare=False)
    """Names of models that whoever waits has waited for in vain, kept for the whole turn."""
    traceparent: str | None = None
    """The span of this call, for the upstream: W3C Trace Context."""


@dataclass(frozen=True, slots=True)
class Text:
    """Everything visible that one read of the upstream brought; never empty."""

    text: str
    model: str = field(default="", compare=False)
    """As the upstream named it, so that also an answer without a `Finish` has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """The last delta of a whole completion; `model` and `id` are as the upstream named them."""

    reason: FinishReason
    model: str
    usage: Usage = field(default_factory=Usage)
    id: str = ""
    left_out_characters: int = 0
    """Of the request's messages that the model was not sent, since it takes less."""


Delta = Text | ToolCall | Finish


AllowanceKind = Literal["requests", "tokens"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What is left of a rate that the upstream allows our organisation, and when it is whole."""

    kind: AllowanceKind
    remaining: int
    reset_seconds: float
    limit: int | None = None
    """The whole of it, if that is known."""


class ChatModel(Protocol):
    """A model that can be asked.

    A wrapper around a `ChatModel` (one attempt, a repair, a fallback) is a `ChatModel` too.
    """

    def complete(self, request: CompletionRequest) -> AsyncGenerator[Delta, None]:
        """Stream one completion.

        Tool calls are whole. A completion that is whole ends with exactly one `Finish`;
        one that is not raises. Closing the generator closes the upstream's connection.

        Raises:
            UpstreamError: whatever went wrong, before the first delta or after it.
        """
        ...


class NamedModel(ChatModel, Protocol):
    name: str
