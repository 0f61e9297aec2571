"""The request, and its fields that Lex ignores or refuses.

It ignores parameters of sampling, because the operator chooses them. It refuses by name the fields
that would change the meaning of the answer: tools of the client, several answers, other content
than text, a prompt in the place of Lex's.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from backend.api.doors.openai.own_requests import is_own_request
from backend.api.schemas import QueryText
from backend.domain.errors import InvalidField
from backend.domain.text import is_encodable

_QUERY = TypeAdapter[str](QueryText)
_TEXT_PARTS = {"text": "text", "refusal": "refusal"}
"""The parts with text, and the field that has it."""


_ALLOWED: Mapping[str, Sequence[Any]] = {
    "n": (1,),
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("auto", "none"),
    "function_call": ("auto", "none"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"], []),
    "audio": (),
}
"""Fields that change the meaning of the answer, with harmless values. Null is always harmless."""


class StreamOptions(BaseModel):
    include_usage: bool | None = None


class ChatBody(BaseModel):
    """Other fields are ignored, such as `temperature` and `seed`.

    Some of them get 422, because they would change the meaning of the answer, such as `tools`.
    """

    model_config = ConfigDict(extra="allow")

    model: str
    messages: list[dict[str, Any]] = Field(
        min_length=1,
        description="The last one is the customer's question. The rest is the history, or is only "
        "compared with the history if the session has one.",
    )
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @property
    def includes_usage(self) -> bool:
        return self.stream_options is not None and bool(self.stream_options.include_usage)


def check_fields(body: ChatBody) -> None:
    """Raises: InvalidField, for a field that would change the meaning of the answer."""
    for name, allowed in _ALLOWED.items():
        value = (body.model_extra or {}).get(name)
        if value is not None and value not in allowed:
            values = " or ".join(json.dumps(each) for each in allowed)
            message = f"must be {values}, or left out" if values else "must be left out"
            raise InvalidField(
                f"{message}: Lex runs its own tools, and answers once, in text", field=name
            )


Speaker = Literal["user", "assistant", "tool", "system"]
_SPEAKERS: dict[str, Speaker] = {
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
    "system": "system",
    "developer": "system",
}


@dataclass(frozen=True, slots=True)
class Said:
    """A sent message. `field` is its place in the request, for a refusal."""

    speaker: Speaker
    text: str
    field: str
    is_call: bool = False
    """Whether the assistant called a tool of the client."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The question, and the conversation before it as the client remembers it.

    `is_own` tells a request of the front end for itself, such as one for a title.
    """

    question: str
    earlier: Sequence[Said] = ()
    is_own: bool = False


def asked(messages: Sequence[dict[str, Any]]) -> Asked:
    """Read the messages. Raises: InvalidField, with the place of what is refused."""
    said = [_said(message, f"messages[{number}]") for number, message in enumerate(messages)]
    texts = [each.text for each in said if each.text.strip()]
    if is_own_request(texts):
        return Asked("\n\n".join(texts), is_own=True)
    for each in said:
        if each.speaker == "system" and each.text.strip():
            raise InvalidField("must not be a prompt: Lex has its own", field=f"{each.field}.role")
    *earlier, last = said
    if last.speaker != "user":
        raise InvalidField("must be `user` in the last message", field=f"{last.field}.role")
    try:
        _QUERY.validate_python(last.text)
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise InvalidField(message, field=f"{last.field}.content") from error
    return Asked(last.text, [each for each in earlier if each.text.strip() or each.is_call])


def _said(message: dict[str, Any], field: str) -> Said:
    role = message.get("role")
    speaker = _SPEAKERS.get(role) if isinstance(role, str) else None
    if speaker is None:
        raise InvalidField(f"must be one of {', '.join(_SPEAKERS)}", field=f"{field}.role")
    text = _text(message.get("content"), f"{field}.content")
    if "\x00" in text or not is_encodable(text):
        raise InvalidField(
            "must not contain NUL or an unpaired surrogate", field=f"{field}.content"
        )
    is_call = bool(message.get("tool_calls") or message.get("function_call"))
    return Said(speaker, text, field, is_call=is_call)


def _text(content: Any, field: str) -> str:
    match content:
        case None:
            return ""
        case str():
            return content
        case list():
            return "\n".join(_part(part, f"{field}[{n}]") for n, part in enumerate(content))
        case _:
            raise InvalidField("must be text or a list of parts", field=field)


def _part(part: Any, field: str) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    text = part.get(_TEXT_PARTS[kind]) if isinstance(kind, str) and kind in _TEXT_PARTS else None
    if not isinstance(text, str):
        raise InvalidField("must be a part with text", field=f"{field}.type")
    return text
