"""Detects calls without special marks: JSON, a block of code, Python.

They only count at the beginning of an answer, because ordinary answers contain them as well.
"""

import re
from dataclasses import dataclass, field

from backend.llm.dialects import json_calls, pythonic
from backend.llm.dialects.brackets import Brackets
from backend.llm.dialects.calls import calls_in
from backend.llm.dialects.known_tools import KnownTools, WrittenCall
from backend.llm.dialects.openers import (
    UNDECIDED,
    Kind,
    Opener,
    Undecided,
    beginnings,
    is_begun,
    opener_at,
)
from backend.llm.dialects.values import value_of

_FENCE = "```"
_FENCE_LINE = re.compile(r"```[\w-]{0,20}[ \t]{0,8}\r?\n\s*")
_UNFINISHED_FENCE = re.compile(r"`{1,3}\Z|```[\w-]{0,20}[ \t]{0,8}\r?\Z")
_AFTER_OPENING = re.compile(r"\s*")
_MAX_BLANKS = 8
_LINE_END = re.compile(r"[ \t]*(?:[\n\r;,<]|\Z)")
_UNMARKED_HARMONY = re.compile(
    r"(?:assistant)?(?:(?:analysis|commentary|final)\s?)?(?:to=functions\.|<\|(?:message|channel)\|>)"
)
_HARMONY_WORDS = beginnings(
    f"{role}{channel}{mark}"
    for role in ("", "assistant")
    for channel in ("", "analysis", "commentary", "final", "analysis ", "commentary ", "final ")
    for mark in ("to=functions.", "<|message|>", "<|channel|>")
)


@dataclass(slots=True)
class Candidate:
    """A text that may turn out to be only calls, once all of it has arrived."""

    is_fenced: bool = False
    is_python: bool = False
    _brackets: Brackets = field(default_factory=Brackets)
    _looked_at: int = len(_FENCE)

    def end(self, text: str, *, is_all: bool) -> int | None:
        """Return where the candidate ends in a text that begins with it; None so far.

        `is_all` says that no more text will come.
        """
        if self.is_fenced:
            return self._fence_end(text)
        end = self._brackets.end(text)
        if end is None or is_all or not self.is_python:
            return end
        behind = text[end : end + _MAX_BLANKS]
        return end if behind.strip(" \t") or len(behind) == _MAX_BLANKS else None

    def _fence_end(self, text: str) -> int | None:
        end = text.find(_FENCE, self._looked_at)
        self._looked_at = max(len(_FENCE), len(text) - len(_FENCE))
        return None if end < 0 else end + len(_FENCE)

    def read(self, text: str, end: int | None, tools: KnownTools) -> list[WrittenCall] | None:
        """Return the calls in the candidate.

        Empty if it was meant as a call of a known tool but cannot be read; None if it is ordinary
        text. `end` is None if the answer stopped in the middle of the candidate.
        """
        whole = text[:end]
        if self.is_python:
            # A sentence may begin with something like a call, so nothing may follow on its line.
            is_alone = end is None or _LINE_END.match(text, end)
            return pythonic.calls(whole, tools) if is_alone else None
        if self.is_fenced:
            whole = _FENCE_LINE.sub("", whole, count=1).removesuffix(_FENCE)
            if not whole.startswith(("{", "[{")):
                return calls_in(whole, tools) or None
        calls = json_calls.calls(whole, tools) if self.is_fenced else _strict(whole, tools)
        return calls if calls or _is_attempt(whole, tools) else None


def _strict(whole: str, tools: KnownTools) -> list[WrittenCall]:
    return list(json_calls.calls_of(_value(whole), tools))


def _is_attempt(whole: str, tools: KnownTools) -> bool:
    value = _value(whole)
    if value is None:
        return any(f'"{name}' in whole for name in tools.names)
    return json_calls.is_call_shaped(value)


def may_begin(character: str, tools: KnownTools) -> bool:
    """Whether a candidate can begin with this character. Nearly all answers begin differently."""
    return character in "{[`<acft" or character in tools.initials


def candidate_at(text: str, at: int, tools: KnownTools) -> Candidate | Undecided | None:
    """Return the candidate at this place, the first of the answer that is not blank."""
    if text[at] == "`":
        return _fence(text, at, tools)
    if text[at] in "{[":
        return _bracketed(text, at, tools)
    return _named(text, at, tools)


def begins_harmony(text: str, at: int) -> bool | Undecided:
    """Whether a harmony message without its first token begins here."""
    if _UNMARKED_HARMONY.match(text, at):
        return True
    return UNDECIDED if is_begun(_HARMONY_WORDS, text, at) else False


def _fence(text: str, at: int, tools: KnownTools) -> Candidate | Undecided | None:
    line = _FENCE_LINE.match(text, at)
    if line is None:
        return UNDECIDED if _UNFINISHED_FENCE.match(text, at) else None
    if line.end() == len(text):
        return UNDECIDED
    inside = text[line.end()]
    found: object = None
    if inside == "<":
        found = opener_at(text, line.end())
    elif inside != "`":
        found = candidate_at(text, line.end(), tools)
    if isinstance(found, Undecided):
        return found
    is_call = isinstance(found, Candidate) or (
        isinstance(found, Opener) and found.kind is Kind.CALLS
    )
    return Candidate(is_fenced=True) if is_call else None


def _bracketed(text: str, at: int, tools: KnownTools) -> Candidate | Undecided | None:
    blank = _AFTER_OPENING.match(text, at + 1)
    inside = at + 1 if blank is None else blank.end()
    if inside == len(text):
        return UNDECIDED
    if text[at] == "{":
        return Candidate() if text[inside] in "\"'" else None
    return Candidate() if text[inside] == "{" else _named(text, inside, tools)


def _named(text: str, at: int, tools: KnownTools) -> Candidate | Undecided | None:
    found = [_named_as(name, text, at) for name in tools.spellings]
    return next(
        (one for one in found if isinstance(one, Candidate)),
        UNDECIDED if UNDECIDED in found else None,
    )


def _named_as(name: str, text: str, at: int) -> Candidate | Undecided | None:
    begun = text[at : at + len(name)]
    if not name.startswith(begun):
        return None
    after = text[at + len(name) : at + len(name) + 8].lstrip(" ")
    if not after:
        return UNDECIDED if len(text) < at + len(name) + 8 else None
    return Candidate(is_python=True) if after[0] == "(" else None


def _value(text: str) -> object:
    try:
        return value_of(text)
    except ValueError:
        return None
