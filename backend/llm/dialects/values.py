"""Reads JSON and its usual mistakes: Python literals, trailing commas, missing brackets.

The parser reads literals only and never evaluates an expression.
"""

import json
import re
from typing import Any

_MAX_DEPTH = 32
"""The deepest nesting of arguments that tools accept."""

_MAX_CHARACTERS = 16_384
"""The lenient reading stops here: it is slow, and real calls are shorter."""

_json = json.JSONDecoder(strict=False)

_SPACE = re.compile(r"\s*")
_QUOTE = re.compile(r"""([bBuUrR]{0,2})('''|\"\"\"|'|")""")
_UNTIL = {
    "'": re.compile(r"([^'\\]*+(?:\\.[^'\\]*+)*+)'", re.DOTALL),
    '"': re.compile(r'([^"\\]*+(?:\\.[^"\\]*+)*+)"', re.DOTALL),
    "'''": re.compile(r"((?:[^'\\]|\\.|'(?!''))*+)'''", re.DOTALL),
    '"""': re.compile(r'((?:[^"\\]|\\.|"(?!""))*+)"""', re.DOTALL),
}
_NUMBER = re.compile(r"[+-]?(?:\d[\d_]*+\.?\d*+|\.\d++)(?:[eE][+-]?\d++)?(?!\w)")
_WORD = re.compile(r"[A-Za-z_]\w*")
_CONSTANTS = {
    "True": True, "true": True, "False": False, "false": False, "None": None, "null": None,
}  # fmt: skip
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|U000[0-9a-fA-F]{5}|x[0-9a-fA-F]{2}|.)", re.DOTALL)
_ESCAPED = {
    "n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "\n": "",
    "\\": "\\", "'": "'", '"': '"', "/": "/",
}  # fmt: skip


def read_value(text: str, at: int = 0) -> tuple[Any, int]:
    """Return the value that begins at a place of the text, and where it ends.

    Raises:
        ValueError: there is no value.
    """
    try:
        return _json.raw_decode(text, at)
    except (ValueError, RecursionError):
        literals = Literals(text, at)
        return literals.value(), literals.at


def value_of(text: str) -> Any:
    """Return the value of the whole text. Raises: ValueError, if it is not one value."""
    value, end = read_value(text, _end(_SPACE, text, 0))
    if text[end:].strip():
        raise ValueError("something follows the value")
    return value


def number_of(text: str) -> int | float | None:
    if not (found := _NUMBER.fullmatch(text)):
        return None
    try:
        return _number(found[0])
    except (ValueError, OverflowError):
        return None


class Literals:
    """Reads literals from `at` on.

    A missing closing bracket is added where the text ends or a tag begins, if the value before it
    is complete.
    """

    def __init__(self, text: str, at: int) -> None:
        self.at = at
        self._text = text
        self._until = at + _MAX_CHARACTERS

    def value(self, depth: int = 0) -> Any:
        """Read one literal. Raises: ValueError, if there is anything else."""
        if depth > _MAX_DEPTH or self.at > self._until:
            raise ValueError("nested too deeply, or too long")
        self._skip_space()
        for opening, closing in ("[", "]"), ("(", ")"):
            if self.takes(opening):
                return self._sequence(closing, depth)
        if self.takes("{"):
            return self._mapping(depth)
        return self._scalar()

    def takes(self, expected: str) -> bool:
        """Skip the expected text. Returns False if something else comes next."""
        self._skip_space()
        if not self._text.startswith(expected, self.at):
            return False
        self.at += len(expected)
        return True

    def has_closed(self, closing: str) -> bool:
        """Whether a bracket closes here. Raises: ValueError, if the text is cut off before it."""
        if self.takes(closing):
            return True
        if self.at < len(self._text) and self._text[self.at] != "<":
            return False
        # The value before must end with a quote or a bracket: a number may be cut in half.
        if self._text[max(0, self.at - 64) : self.at].rstrip()[-1:] not in tuple("\"'])}"):
            raise ValueError("the text is cut")
        return True

    def word(self) -> str | None:
        """Read a bare word; None if something else comes next."""
        self._skip_space()
        found = _WORD.match(self._text, self.at)
        if found is None or _QUOTE.match(self._text, self.at):
            return None
        self.at = found.end()
        return found[0]

    def _skip_space(self) -> None:
        self.at = _end(_SPACE, self._text, self.at)

    def _sequence(self, closing: str, depth: int) -> Any:
        values: list[Any] = []
        is_list = closing == "]"
        while not self.has_closed(closing):
            values.append(self.value(depth + 1))
            if self.takes(","):
                is_list = True
            elif not self.has_closed(closing):
                raise ValueError("a comma is missing")
            else:
                break
        return values if is_list or len(values) != 1 else values[0]

    def _mapping(self, depth: int) -> Any:
        """Read an object. A Python set becomes a list, because JSON has no sets."""
        pairs: dict[str, Any] = {}
        members: list[Any] = []
        while not self.has_closed("}"):
            key = self._key(depth)
            if self.takes(":"):
                pairs[key if isinstance(key, str) else json.dumps(key)] = self.value(depth + 1)
            else:
                members.append(key)
            if not self.takes(","):
                if self.has_closed("}"):
                    break
                raise ValueError("a comma is missing")
        return members if members and not pairs else pairs

    def _key(self, depth: int) -> Any:
        begun = self.at
        word = self.word()
        if word is not None and self.takes(":"):
            self.at -= 1
            return word
        self.at = begun
        return self.value(depth + 1)

    def _scalar(self) -> Any:
        if found := _QUOTE.match(self._text, self.at):
            return self._string(found)
        if found := _NUMBER.match(self._text, self.at):
            self.at = found.end()
            return _number(found[0])
        word = self.word()
        if word not in _CONSTANTS:
            raise ValueError("not a literal")
        return _CONSTANTS[word]

    def _string(self, opening: re.Match[str] | None) -> str:
        """Read a string. Adjacent strings are joined, as in Python."""
        parts: list[str] = []
        while opening is not None:
            whole = _UNTIL[opening[2]].match(self._text, opening.end())
            if whole is None:
                raise ValueError("a string does not end")
            self.at = whole.end()
            is_raw = "r" in opening[1].lower()
            parts.append(whole[1] if is_raw else _ESCAPE.sub(_unescaped, whole[1]))
            opening = _QUOTE.match(self._text, _end(_SPACE, self._text, self.at))
        return "".join(parts)


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return at if found is None else found.end()


def _number(text: str) -> int | float:
    return float(text) if re.search(r"[.eE]", text) else int(text)


def _unescaped(escape: re.Match[str]) -> str:
    code = escape[1]
    if len(code) > 1:
        return chr(int(code[1:], 16))
    return _ESCAPED.get(code, escape[0])
