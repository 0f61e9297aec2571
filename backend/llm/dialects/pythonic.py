"""Python-like calls: `get_weather(city="Paris")`, alone, in a list, or one per line."""

import re
from collections.abc import Iterator
from typing import Any

from backend.llm.dialects.brackets import Brackets
from backend.llm.dialects.known_tools import KnownTools, WrittenCall
from backend.llm.dialects.values import Literals

_CALL = re.compile(r"(?<!\w)(?P<name>[A-Za-z_]\w{0,63}+)(?:\.call)?\s*+(?P<opening>\()")


def calls(text: str, tools: KnownTools) -> list[WrittenCall]:
    """Return every call in the text whose arguments are literals."""
    return list(_calls(text, tools)) if tools.are_mentioned_in(text) else []


def _calls(text: str, tools: KnownTools) -> Iterator[WrittenCall]:
    at = 0
    while found := _CALL.search(text, at):
        at = found.end()
        if (name := tools.find(found["name"])) is None:
            continue
        try:
            positional, named, at = _arguments(text, found.end())
        except ValueError:
            # Skip to its closing bracket: a string in there may look like a call.
            at = Brackets().end(text, found.start("opening")) or len(text)
            continue
        if call := tools.call(name, _object(positional, named, tools.fields(name))):
            yield call


def _arguments(text: str, at: int) -> tuple[list[Any], dict[str, Any], int]:
    """Return positional and named arguments, and the end. Raises: ValueError, if unreadable."""
    literals = Literals(text, at)
    positional: list[Any] = []
    named: dict[str, Any] = {}
    while not literals.has_closed(")"):
        begun = literals.at
        word = literals.word()
        if literals.takes("**") and isinstance(spread := literals.value(), dict):
            named |= spread
        elif word is not None and (literals.takes("=") or literals.takes(":")):
            named[word] = literals.value()
        else:
            literals.at = begun
            positional.append(literals.value())
        if not literals.takes(","):
            if literals.has_closed(")"):
                break
            raise ValueError("a comma is missing")
    return positional, named, literals.at


def _object(positional: list[Any], named: dict[str, Any], fields: tuple[str, ...]) -> Any:
    """Assign positional arguments by their order. A single object contains all arguments."""
    match positional:
        case [dict() as only]:
            return only | named
    return dict(zip(fields, positional, strict=False)) | named
