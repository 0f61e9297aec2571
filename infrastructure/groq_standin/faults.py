"""The faults a script may ask for: what each is called and which numbers it takes.

`after_tokens` counts what came after the first chunk: pieces of reasoning and text, and tool calls.
"""

import re
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Count = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(ge=0, le=3600)]


def _kind(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


class Fault(msgspec.Struct, tag=_kind, tag_field="kind", forbid_unknown_fields=True, kw_only=True):
    """`times`: only the first so many requests; `model`: only requests for that model."""

    times: Annotated[int, Meta(ge=1)] | None = None
    model: str | None = None


# Instead of an answer.


class Status(Fault):
    """Any status. Without `body` the body is an error as Groq words it."""

    status: Annotated[int, Meta(ge=200, le=599)] = 500
    code: str | None = None
    type: str = "internal_server_error"
    message: str = "Internal Server Error"
    headers: dict[str, str | None] = {}
    body: str | None = None
    html: bool = False


class RateLimit(Fault):
    """429. `requests` are counted per day, `tokens` per minute; `wait` is in the message."""

    retry_after: int | None = 35
    wait: str = "34.1475s"
    type: Literal["tokens", "requests"] = "tokens"
    x_should_retry: bool | None = None


class ModelNotFound(Fault):
    pass


class ModelDecommissioned(Fault):
    pass


class ModelPermissionBlocked(Fault):
    """403: somebody has switched the model off for the project or the whole organisation."""

    level: Literal["project", "org"] = "project"


class ModelTermsRequired(Fault):
    """400: nobody has accepted the terms of the model yet."""


class FlexCapacityExceeded(Fault, tag="capacity_exceeded_498"):
    """498, a status of Groq's own: the flex tier has no capacity at the moment."""

    retry_after: str | None = None


class InvalidApiKey(Fault):
    pass


class JsonValidateFailed(Fault):
    failed_generation: str = ""


class ContextOverflow(Fault):
    pass


class TooLarge(Fault, tag="too_large_413"):
    """413 with the code of a rate limit and a misleading `retry-after`."""

    retry_after: int | None = 12


class Html(Fault, tag="html_200"):
    """A proxy's page with status 200 where a stream was expected."""

    body: str = "<!DOCTYPE html><html><body><h1>Just a moment...</h1></body></html>"


class Silence(Fault):
    """Not a byte, for some seconds (then the answer comes after all) or for ever."""

    seconds: Seconds | None = None


# Instead of an answer, or in the middle of it when `after_tokens` is given.


class ToolUseFailed(Fault):
    """400, or in the stream `event: error` and the end of it."""

    after_tokens: Count | None = None
    failed_generation: str = ""
    message: str = (
        "Failed to call a function. Please adjust your prompt. "
        "See 'failed_generation' for more details."
    )
    error_is_string: bool = False

    @property
    def code(self) -> str:
        return "tool_use_failed"


class OutputParseFailed(ToolUseFailed):
    """The same for output that is not even a call."""

    message: str = (
        "Parsing failed. The model generated output that could not be parsed. Please adjust your "
        "prompt. See 'failed_generation' for more details."
    )

    @property
    def code(self) -> str:
        return "output_parse_failed"


class Reset(Fault):
    after_tokens: Count | None = None


class Close(Fault):
    """FIN. In the middle of a stream: with its last HTTP chunk (it just ends) or truncated."""

    after_tokens: Count | None = None
    terminated: bool = True


# In the middle of a stream.


class Stall(Fault):
    after_tokens: Count = 1
    seconds: Seconds | None = None


class CutJson(Fault):
    """Half a frame, then a clean end."""

    after_tokens: Count = 1


class LastFrameUnterminated(Fault):
    """The last frame lacks its blank line: the one that finishes, or `[DONE]` after it."""

    frame: Literal["finish", "done"] = "finish"


class InvalidUtf8(Fault):
    after_tokens: Count = 1


class HugeFrame(Fault):
    after_tokens: Count = 1
    bytes: Annotated[int, Meta(ge=1, le=64 * 1024 * 1024)] = 1024 * 1024


class EmptyChoices(Fault):
    after_tokens: Count = 1


class BadJson(Fault):
    after_tokens: Count = 1


class XGroqError(Fault):
    """A chunk with `x_groq.error`, then `[DONE]`: stopped early, without a finish reason."""

    after_tokens: Count = 1
    message: str = "over capacity"


class NoFinishReason(Fault):
    done: bool = True


class DuplicateToolIndex(Fault):
    pass


class NullArguments(Fault):
    """Every call's arguments are the string `null`."""


class SplitMultibyte(Fault):
    """The first character of several bytes goes out in two writes.

    An answer in plain ASCII ends with such a character for the purpose."""

    seconds: Seconds = 0.03


class Raw(Fault):
    """A body of any bytes, in JSON as base64: in one write, or `piece_bytes` at a time, `seconds`
    apart. Then the body ends, the connection breaks, or nothing happens.
    """

    body: bytes = b""
    piece_bytes: Annotated[int, Meta(ge=1)] | None = None
    seconds: Seconds = 0.001
    ending: Literal["end", "reset", "silence"] = "end"


Refusal = (
    Status | RateLimit | ModelNotFound | ModelDecommissioned | ModelPermissionBlocked
    | ModelTermsRequired | FlexCapacityExceeded | InvalidApiKey | JsonValidateFailed
    | ContextOverflow | TooLarge | Html
)  # fmt: skip

AnyFault = (
    Refusal | Silence | ToolUseFailed | OutputParseFailed | Reset | Close | Stall | CutJson
    | LastFrameUnterminated | InvalidUtf8 | HugeFrame | EmptyChoices | BadJson | XGroqError
    | NoFinishReason | DuplicateToolIndex | NullArguments | SplitMultibyte | Raw
)  # fmt: skip
