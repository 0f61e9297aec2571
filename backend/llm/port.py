"""The port to a chat model: the request, and the deltas that it streams back."""

from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal, Protocol

from backend.domain.conversation import Message, ToolCall
from backend.domain.usage import ModelCall, Purpose, Usage

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "other"]
"""`other` is a reason that we do not know."""

CUT: frozenset[FinishReason] = frozenset({"length", "content_filter"})
"""The reasons of truncated answers, whose last tool call may be incomplete."""


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as the model sees it. `parameters` is a JSON schema."""

    name: str
    description: str
    parameters: dict[str, Any]


@dataclass(slots=True)
class Meter:
    """What one call of a model has used. The model keeps it true, also if nobody reads on."""

    is_accepted: bool = False
    """Whether the provider has accepted the request, and will charge for it."""
    written_characters: int = 0
    """The size of what arrived: text, reasoning and tool calls, shown or not."""
    usage: Usage | None = None
    """The provider's report, if there was one."""
    queue_seconds: float | None = None
    """How long the request waited in the provider's queue, if the provider says so."""
    began_at: float | None = None
    """When the first output arrived, text, reasoning or a tool call, by `time.perf_counter()`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionRequest:
    prompt: str
    messages: Sequence[Message]
    history_length: int = 0
    """How many of `messages`, from the first, belong to earlier turns. If the request is too large
    for a model, the oldest of these turns are left out."""
    tools: Sequence[ToolSpec] = ()
    max_tokens: int | None = None
    """Caps the completion's tokens, below the model's configured limit."""
    is_awaited: bool = True
    """Whether a user waits for the answer. Otherwise the request is never retried, and only goes to
    a model with plenty of its rate left."""
    is_again: bool = False
    """Whether all models have failed once already. Then a model that is busy or says when to come
    back is not retried on its own."""
    attempts: Iterator[int] = field(default_factory=lambda: count(1), compare=False)
    """Numbers the upstream calls of this completion, across all models."""
    thinks_least: bool = False
    """Whether to ask for as little reasoning as possible, because the model ran out of tokens."""
    silent: set[str] = field(default_factory=set, compare=False)
    """Names of the models that timed out without an answer. One set serves the whole turn."""
    purpose: Purpose = "turn"
    calls: list[ModelCall] = field(default_factory=list, compare=False)
    """Collects the calls of models that were made for this completion. One list serves the turn."""
    meter: Meter = field(default_factory=Meter, compare=False)
    """Belongs to one call of a model."""
    traceparent: str | None = None
    """The span of this call in the format of W3C Trace Context, sent to the upstream."""


@dataclass(frozen=True, slots=True)
class Text:
    """All visible text from one read of the upstream; never empty."""

    text: str
    model: str = field(default="", compare=False)
    """The upstream's name of the model. Here too, for answers that break off before `Finish`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """The last delta, if the completion is complete. `model` and `id` are the upstream's."""

    reason: FinishReason
    model: str
    usage: Usage = field(default_factory=Usage)
    id: str = ""
    left_out_characters: int = 0
    """The size of the request's messages that were left out because the model accepts less."""


Delta = Text | ToolCall | Finish


AllowanceKind = Literal["requests", "tokens"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """The rest of one of our organisation's rate limits.

    The full rate is back in `reset_seconds`.
    """

    kind: AllowanceKind
    remaining: int
    reset_seconds: float
    limit: int | None = None
    """The full rate, if it is known."""


class ChatModel(Protocol):
    """Anything that answers a `CompletionRequest`: a model, or a wrapper around one.

    Wrappers (one attempt, a repair, a fallback) are chat models themselves, so they nest.
    """

    def complete(self, request: CompletionRequest) -> AsyncGenerator[Delta, None]:
        """Stream one completion.

        Tool calls are complete, never fragments. A complete answer ends with exactly one `Finish`;
        any other ending raises. Closing the generator closes the upstream's connection.

        Raises:
            UpstreamError: the completion failed, before the first delta or after it.
        """
        ...


class NamedModel(ChatModel, Protocol):
    name: str
