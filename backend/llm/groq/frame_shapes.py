"""Decodes one frame of a completion, strictly or, if that fails, leniently.

Most frames have the documented shape. For others, the lenient reading accepts a value of the wrong
type if it has one obvious meaning.
"""

import json
from collections.abc import Iterable
from typing import Any

import msgspec

from backend.domain.conversation import as_json


class NotAFrame(ValueError):
    """The bytes are not a frame, even read leniently."""


class Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class CallPart(msgspec.Struct):
    """A tool call, or a fragment of one."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None


class FrameDelta(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None
    # Reasoning is only counted, so any type will do. Servers use either name for it.
    reasoning: Any = None
    reasoning_content: Any = None
    tool_calls: list[CallPart] | None = None
    function_call: Function | None = None

    @property
    def brings(self) -> bool:
        """Whether the delta contains anything."""
        return bool(self.content) or self.brings_more

    @property
    def brings_more(self) -> bool:
        """Whether the delta contains anything besides content."""
        return bool(
            self.refusal
            or self.reasoning
            or self.reasoning_content
            or self.tool_calls
            or self.function_call
        )


class Choice(msgspec.Struct):
    index: int | None = None
    delta: FrameDelta | None = None
    finish_reason: str | None = None
    usage: Any = None


class Frame(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    choices: list[Choice] | None = None
    # Bookkeeping: a strange value here must not cost the answer, so any type will do.
    usage: Any = None
    x_groq: Any = None
    error: Any = None


_decode = msgspec.json.Decoder(Frame).decode


def decode(payload: bytes) -> Frame:
    """Read the data of one event.

    Raises:
        NotAFrame: the payload is not JSON, or not a frame.
    """
    try:
        return _decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _loosely(payload)


def _loosely(payload: bytes) -> Frame:
    # Python's decoder also accepts NaN, control characters and lone surrogates.
    try:
        return _frame(json.loads(payload.decode(), strict=False))
    except (ValueError, RecursionError) as error:
        raise NotAFrame("not a frame") from error


def _frame(value: Any) -> Frame:
    told = _object(value)
    return Frame(
        id=_name(told.get("id")),
        model=_name(told.get("model")),
        choices=[_choice(choice) for choice in _listed(told.get("choices"))],
        usage=told.get("usage"),
        x_groq=told.get("x_groq"),
        error=told.get("error"),
    )


def _choice(value: Any) -> Choice:
    told = _object(value)
    return Choice(
        index=_index(told.get("index")),
        delta=_delta(told.get("delta")),
        finish_reason=_reason(told.get("finish_reason")),
        usage=told.get("usage"),
    )


def _delta(value: Any) -> FrameDelta:
    told = _object(value)
    return FrameDelta(
        content=_text(told.get("content")),
        refusal=_text(told.get("refusal")),
        reasoning=told.get("reasoning"),
        reasoning_content=told.get("reasoning_content"),
        tool_calls=[_call(call) for call in _listed(told.get("tool_calls"))],
        function_call=_function(told.get("function_call")),
    )


def _call(value: Any) -> CallPart:
    told = _object(value)
    return CallPart(
        index=_index(told.get("index")),
        id=_name(told.get("id")),
        function=_function(told.get("function")),
    )


def _function(value: Any) -> Function | None:
    if value is None:
        return None
    told = _object(value)
    return Function(name=_name(told.get("name")), arguments=_arguments(told.get("arguments")))


def _object(value: Any) -> dict[str, Any]:
    match value:
        case dict():
            return value
        case None | []:  # PHP, for one, writes an empty object as an empty list
            return {}
        case _:
            raise NotAFrame(f"expected an object, got {type(value).__name__}")


def _listed(value: Any) -> Iterable[Any]:
    match value:
        case list():
            return [each for each in value if each is not None]
        case None:
            return ()
        case dict():
            return (value,)
        case _:
            raise NotAFrame(f"expected a list, got {type(value).__name__}")


def _text(value: Any) -> str | None:
    match value:
        case None | str():
            return value
        case bool():
            raise NotAFrame("expected text, got a boolean")
        case int() | float():
            return str(value)
        case dict() | list():
            return "".join([_part(part) for part in _listed(value)])
        case _:
            raise NotAFrame(f"expected text, got {type(value).__name__}")


def _part(value: Any) -> str:
    """The text of one content part; empty for images and reasoning."""
    match value:
        case str():
            return value
        case {"type": "thinking" | "reasoning"}:
            return ""
        case {"text": str(text)} | {"refusal": str(text)}:
            return text
        case _:
            return ""


def _arguments(value: Any) -> str | None:
    """Some servers send the arguments as an object instead of JSON in a string."""
    return value if value is None or isinstance(value, str) else as_json(value)


def _index(value: Any) -> int | None:
    match value:
        case bool():
            return None
        case int():
            return value
        case float() if value.is_integer():
            return int(value)
        case str() if value.isascii() and value.isdigit() and len(value) < 10:
            return int(value)
        case _:
            return None


def _name(value: Any) -> str | None:
    match value:
        case str():
            return value
        case bool():  # before int, because a bool is an int in Python
            return None
        case int() | float():
            return str(value)
        case _:
            return None


def _reason(value: Any) -> str | None:
    """Any non-empty value means that the answer is finished."""
    if value is None or isinstance(value, str):
        return value
    return "unknown" if value else None
