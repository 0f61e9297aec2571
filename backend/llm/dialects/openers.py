"""Detects where markup opens in a text, and knows how it closes."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

from backend.llm.dialects import reasoning
from backend.llm.dialects.hermes import NAMESPACES

SUSPECT = re.compile(r"<|\[(?:[T/]|\Z)")
"""A cheap first look: any markup in the middle of a text begins like this. Most texts have none."""

MAX_OPENER_CHARACTERS = 64


class Kind(Enum):
    NOISE = auto()
    """A token or tag that opens nothing."""
    HEADER = auto()
    """The header of a harmony message. It tells whether reasoning, a call or text follows."""
    THOUGHT = auto()
    CALLS = auto()


@dataclass(frozen=True, slots=True)
class Opener:
    kind: Kind
    end: int
    closer: re.Pattern[str] | None = None


class Undecided(Enum):
    """The text may become markup; only its continuation will tell."""

    UNDECIDED = auto()


UNDECIDED = Undecided.UNDECIDED

_TAG = re.compile(
    rf"<(?P<closing>/?)(?P<namespace>{NAMESPACES})"
    r"(?P<name>think(?:ing)?|tool_?calls?|tool_use|tool_response|function(?:_?calls?)?|invoke)(?!\w)"
)
_AFTER_NAME = {
    "function": re.compile(r"\s{0,8}(?:[=>{(]|name\s{0,8}=)"),
    "invoke": re.compile(r"\s{0,8}(?:[=>]|name\s{0,8}=)"),
    "tool_call": re.compile(r"\s{0,8}(?:[=>{\[]|name\s{0,8}=)"),
}
_CLOSES = re.compile(r"\s{0,8}>")
_UNFINISHED = re.compile(r"\s{0,8}(?:n|na|nam|name\s{0,8})?\Z")


def beginnings(marks: Iterable[str]) -> frozenset[str]:
    """All non-empty prefixes of the marks: a text that ends with one may be in a mark."""
    return frozenset(mark[:end] for mark in marks for end in range(1, len(mark) + 1))


_TAGS = beginnings(
    f"<{slash}{namespace}{name}"
    for slash in ("", "/")
    for namespace in ("", "minimax:", "antml:", "｜DSML｜")
    for name in (
        "thinking",
        "tool_calls",
        "toolcalls",
        "tool_use",
        "tool_response",
        "function_calls",
        "functioncalls",
        "invoke",
    )
)
_BRACKETS = ("[TOOL_CALLS]", "[THINK]", "[/THINK]")
_BEGUN_BRACKETS = beginnings(_BRACKETS)

_TOKEN = re.compile(r"<[|｜](?P<name>/?[^\W\d][\w▁/-]{0,40}+)[|｜]>")
_UNFINISHED_TOKEN = re.compile(r"<(?:[|｜](?:/?(?:[^\W\d][\w▁/-]{0,40}+[|｜]?)?)?)?\Z")

_HARMONY = {"start", "channel", "constrain", "message"}
_CALL_TOKENS = {
    "tool_calls_section_begin": r"<\|tool_calls_section_end\|>",
    "tool_call_begin": r"<[|｜]tool[_▁]calls?(?:_section)?[_▁]end[|｜]>",
    "tool_calls_begin": r"<[|｜]tool[_▁]calls[_▁]end[|｜]>",
    "tool_call": r"<\|(?:/tool_call|tool_call_end|end|im_end|eot_id|end_of_text)\|>",
    "tool_calls": r"<\|(?:/tool_calls|tool_calls_end|end|im_end|eot_id)\|>",
    "python_tag": r"<\|(?:eom_id|eot_id|end_of_text)\|>",
    "python_start": r"<\|(?:python_end|eom_id|eot|eot_id)\|>",
    "START_ACTION": r"<\|END_ACTION\|>",
}
_CALL_CLOSERS = {name: re.compile(pattern) for name, pattern in _CALL_TOKENS.items()}
_ROLES = {
    "im_start": re.compile(r"\n"),
    "start_header_id": re.compile(r"<\|end_header_id\|>"),
}
_NEVER = re.compile(r"(?!)")


def opener_at(text: str, at: int) -> Opener | Undecided | None:
    """Return the markup that opens at this place; None for ordinary text."""
    if text.startswith("[", at):
        return _bracket(text, at)
    return _token(text, at) or _tag(text, at)


def _bracket(text: str, at: int) -> Opener | Undecided | None:
    for mark in _BRACKETS:
        if text.startswith(mark, at):
            end = at + len(mark)
            if mark == "[TOOL_CALLS]":
                return Opener(Kind.CALLS, end, _NEVER)
            if mark == "[THINK]":
                return Opener(Kind.THOUGHT, end, reasoning.end_of(mark))
            return Opener(Kind.NOISE, end)
    return UNDECIDED if is_begun(_BEGUN_BRACKETS, text, at) else None


def _token(text: str, at: int) -> Opener | Undecided | None:
    found = _TOKEN.match(text, at)
    if found is None:
        return UNDECIDED if _UNFINISHED_TOKEN.match(text, at) else None
    name = found["name"].replace("▁", "_")
    if name in _HARMONY:
        return Opener(Kind.HEADER, at)
    if name in _CALL_CLOSERS:
        return Opener(Kind.CALLS, found.end(), _CALL_CLOSERS[name])
    if name in ("begin_of_thought", "START_THINKING"):
        return Opener(Kind.THOUGHT, found.end(), reasoning.end_of(found[0]))
    if name in _ROLES:
        return Opener(Kind.THOUGHT, found.end(), _ROLES[name])
    return Opener(Kind.NOISE, found.end())


def _tag(text: str, at: int) -> Opener | Undecided | None:
    found = _TAG.match(text, at)
    # A name at the end may go on: `<tool_call` could become `<tool_calls`.
    if found is None or found.end() == len(text):
        return UNDECIDED if is_begun(_TAGS, text, at) or found else None
    name = found["name"]
    rest = text[found.end() : found.end() + MAX_OPENER_CHARACTERS]
    head = _CLOSES if found["closing"] else _AFTER_NAME.get(name, _CLOSES)
    after = head.match(rest)
    if after is None:
        return UNDECIDED if _UNFINISHED.match(rest) else None
    end = found.end() + after.end()
    if found["closing"]:
        return Opener(Kind.NOISE, end)
    if name.startswith("think"):
        return Opener(Kind.THOUGHT, end, reasoning.THOUGHT_END)
    closer = re.compile(rf"</{re.escape(found['namespace'])}{name}\s*+>")
    is_call = name != "tool_response"
    return Opener(Kind.CALLS if is_call else Kind.THOUGHT, end, closer)


def is_begun(marks: frozenset[str], text: str, at: int) -> bool:
    """Whether the text from `at` on is the beginning of a mark."""
    return len(text) - at < MAX_OPENER_CHARACTERS and text[at:] in marks
