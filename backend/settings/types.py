"""Types of values in the environment: lists, and numbers with a unit."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic_settings import NoDecode


def split(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _split_or_none(value: Any) -> Any:
    """Split a list. `none` means an empty list, because an empty variable counts as unset."""
    is_none = isinstance(value, str) and value.strip().lower() == "none"
    return () if is_none else split(value)


CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(split)]
ListOrNone = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_or_none)]
Hours = Annotated[float, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]
