"""A request for a completion, as far as the stand-in reads it."""

from typing import Any, Literal

import msgspec


class RequestError(ValueError):
    """The body of a request is not what a chat completion needs."""


class Function(msgspec.Struct, frozen=True):
    name: str = ""
    arguments: str = ""


class ToolCall(msgspec.Struct, frozen=True):
    function: Function
    id: str = ""


class Message(msgspec.Struct, frozen=True):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[dict[str, Any]] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, list):
            return "".join(str(part.get("text", "")) for part in self.content)
        return self.content or ""


class Tool(msgspec.Struct, frozen=True):
    function: Function


class StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool = False


class Asked(msgspec.Struct, frozen=True):
    """The fields that matter here; any other is let pass."""

    model: str
    messages: list[Message]
    tools: list[Tool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    seed: int | None = None

    @property
    def last_user(self) -> int:
        """Where the last user message is; -1 when there is none."""
        last = len(self.messages) - 1
        return next((i for i in range(last, -1, -1) if self.messages[i].role == "user"), -1)

    @property
    def query(self) -> str:
        last = self.last_user
        return self.messages[last].text if last >= 0 else ""

    @property
    def round(self) -> int:
        """How many completions this turn has had before."""
        return sum(one.role == "assistant" for one in self.messages[self.last_user + 1 :])

    @property
    def label(self) -> str:
        """The model that a completion names: never one that could be taken for a real one."""
        return NAME if self.model == NAME else f"{NAME}/{self.model}"

    @property
    def is_gpt_oss(self) -> bool:
        return "gpt-oss" in self.model

    @property
    def wants_summary(self) -> bool:
        """Whether what the user says is no query but a transcript of what others said."""
        is_told = any("summary" in one.text for one in self.messages if one.role == "system")
        return is_told and not self.tools

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def tool_names(self) -> frozenset[str]:
        """The tools that may be called."""
        if self.tool_choice == "none":
            return frozenset()
        return frozenset(tool.function.name for tool in self.tools or ())

    @property
    def may_call_in_parallel(self) -> bool:
        """gpt-oss makes one call per completion even when parallel calls are on."""
        return self.parallel_tool_calls is not False and not self.is_gpt_oss


NAME = "groq-standin"

_decoder = msgspec.json.Decoder(Asked)


def read(body: bytes) -> Asked:
    """Read the body of a request.

    Raises:
        RequestError: with the place and the reason.
    """
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(str(error)) from error
