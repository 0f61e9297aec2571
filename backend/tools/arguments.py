"""Parses and validates the arguments that a model wrote for a tool.

Error messages continue after the field's name: "`date` must be YYYY-MM-DD".
"""

import datetime as dt
import json
import re
import unicodedata
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, field_validator
from pydantic_core import ErrorDetails

from backend.domain.conversation import as_json
from backend.domain.errors import InvalidArguments

MAX_DEPTH = 32
"""The deepest nesting of arguments: more than any tool needs, and safe for JSON encoders."""


class Arguments(BaseModel):
    """Base class for the arguments of a tool.

    It is lenient, because models write numbers for ids, and add fields that no tool asked for.
    """

    model_config = ConfigDict(
        coerce_numbers_to_str=True,
        extra="ignore",
        frozen=True,
        str_strip_whitespace=True,
        str_min_length=1,
        str_max_length=200,
    )

    @field_validator("*", mode="before")
    @classmethod
    def _check_one_line(cls, value: Any) -> Any:
        """Refuse control characters, which some stores, URLs and messages cannot contain."""
        if isinstance(value, str) and any(map(_is_control, value.strip())):
            raise ValueError("must be one line without control characters")
        return value


def _written(pattern: str, message: str) -> BeforeValidator:
    """Only accept text of this form. Pydantic would read 20261124 as seconds since 1970."""

    def check(value: Any) -> Any:
        if not isinstance(value, str) or not re.fullmatch(pattern, value.strip(), re.ASCII):
            raise ValueError(message)
        return value.strip()

    return BeforeValidator(check)


def _none_if_blank(value: Any) -> Any:
    return None if isinstance(value, str) and not value.strip() else value


Day = Annotated[dt.date, _written(r"\d{4}-\d\d-\d\d", "must be YYYY-MM-DD, for example 2026-11-24")]
Clock = Annotated[
    dt.time, _written(r"\d\d:\d\d(:00)?", "must be HH:MM on the 24-hour clock, for example 14:00")
]
UserId = Annotated[str | None, BeforeValidator(_none_if_blank)]
"""Pass it through `ToolContext.acting_user`, because a signed-in customer need not give it."""


def parameters(arguments: type[Arguments]) -> dict[str, Any]:
    """Return the JSON schema that is sent upstream.

    It is looser than the validation. Groq itself refuses a call that violates the schema, and then
    we could not explain the mistake to the model.
    """
    fields = arguments.model_fields
    return {
        "type": "object",
        "properties": {
            name: {"type": ["string", "number", "null"], "description": field.description or ""}
            for name, field in fields.items()
        },
        "required": [name for name, field in fields.items() if field.is_required()],
    }


def parsed(arguments: str) -> dict[str, Any]:
    """Parse the arguments. An empty text and `null` become an empty object.

    Raises:
        InvalidArguments: the text is not a JSON object, or cannot be encoded again.
    """
    try:
        value = json.loads(arguments.strip() or "null")
        # Python reads lone surrogates and infinity, but they can be neither sent nor stored.
        as_json(value).encode()
        _check_depth(value)
    except (ValueError, RecursionError) as error:
        raise InvalidArguments(f"The arguments are not valid JSON: {error}.") from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidArguments("The arguments must be a JSON object.")
    return value


def shown(arguments: str) -> dict[str, Any] | str:
    """Return the arguments as the client sees them: an object, or else the raw text."""
    try:
        return parsed(arguments)
    except InvalidArguments:
        return arguments


def validated(model: type[Arguments], arguments: str) -> Arguments:
    """Raises: InvalidArguments, with one clause per invalid field."""
    try:
        return model.model_validate(parsed(arguments))
    except ValidationError as error:
        clauses = "; ".join(map(_clause, error.errors()))
        raise InvalidArguments(f"{clauses}.") from error


def _clause(error: ErrorDetails) -> str:
    """Word one error. The field's name replaces the subject of Pydantic's message."""
    field = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing":
        return f"`{field}` is missing"
    message = re.sub(r"^(Value error,|Input|String) ", "", error["msg"])
    return f"`{field}` {message}"


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"}


def _check_depth(value: Any, left: int = MAX_DEPTH) -> None:
    if not isinstance(value, dict | list):
        return
    if not left:
        raise ValueError("it is nested too deeply")
    for inner in value.values() if isinstance(value, dict) else value:
        _check_depth(inner, left - 1)
