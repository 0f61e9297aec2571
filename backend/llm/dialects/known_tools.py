"""The tools that may be called, and the calls that models write."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from backend.llm.dialects.names import cleaned
from backend.llm.dialects.values import number_of, value_of
from backend.llm.port import ToolSpec

PREFIXES = ("", "functions.", "default_api.", "print(")
"""What Python-like calls write before the name of a tool."""

_BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class WrittenCall:
    """A call found in text. `arguments` is a JSON object, or the text that should have been one."""

    name: str
    arguments: str


class KnownTools:
    def __init__(self, specs: Sequence[ToolSpec]) -> None:
        self.specs = specs
        self._schemas = {spec.name: spec.parameters for spec in specs}
        self.names = tuple(self._schemas)

    @cached_property
    def spellings(self) -> tuple[str, ...]:
        """All beginnings of a Python-like call."""
        return tuple(prefix + name for name in self.names for prefix in PREFIXES)

    @cached_property
    def initials(self) -> frozenset[str]:
        return frozenset(spelling[:1] for spelling in self.spellings)

    def find(self, written: str) -> str | None:
        """Return the tool's real name for a name as a model wrote it; None if there is none."""
        if written in self._schemas:
            return written
        name = cleaned(written)
        return name if name in self._schemas else None

    def are_mentioned_in(self, text: str) -> bool:
        named = "|".join(map(re.escape, self.names))
        return bool(named) and re.search(rf"\b(?:{named})\b", text) is not None

    def fields(self, name: str) -> tuple[str, ...]:
        """The names of the tool's arguments, in the order of its schema."""
        return tuple(_properties(self._schemas[name]))

    def call(self, written: str, arguments: Any) -> WrittenCall | None:
        """Make a call; None if there is no such tool."""
        name = self.find(written)
        return None if name is None else WrittenCall(name, as_arguments(arguments))

    def typed(self, name: str, field: str, text: str) -> Any:
        """Convert the text of a field to its type in the schema, for dialects without types."""
        return _typed(text.strip(), _types(_properties(self._schemas[name]).get(field)))


def as_arguments(value: Any) -> str:
    """Return arguments as JSON text.

    A string that contains an object becomes that object. Any other string stays as it is.
    """
    if value is None or value == "":
        return "{}"
    if not isinstance(value, str):
        return _encodable(value)
    try:
        held = value_of(value)
    except ValueError:
        return value.encode("utf-8", "replace").decode()
    return as_arguments(held) if held is None or isinstance(held, dict) else value


def _encodable(value: Any) -> str:
    """JSON without escapes, unless it contains a lone surrogate, which UTF-8 cannot encode."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value)
    return text


def _properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    properties = schema.get("properties")
    return properties if isinstance(properties, Mapping) else {}


def _types(schema: Any) -> set[str]:
    """All types that a field's schema allows; empty if it names none."""
    if not isinstance(schema, Mapping):
        return set()
    named = schema.get("type", ())
    types = {named} if isinstance(named, str) else set(named)
    for branch in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        types |= _types(branch)
    return types


def _typed(text: str, types: set[str]) -> Any:
    if text in ("null", "None") and "null" in types:
        return None
    if "string" in types:
        return text
    if text.lower() in _BOOLEANS and (not types or "boolean" in types):
        return _BOOLEANS[text.lower()]
    if not types or types & {"integer", "number"}:
        number = number_of(text)
        if number is not None:
            return number
    return _structured(text) if not types or types & {"object", "array"} else text


def _structured(text: str) -> Any:
    if not text.startswith(("{", "[")):
        return text
    try:
        return value_of(text)
    except ValueError:
        return text
