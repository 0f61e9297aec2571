"""Finds the reasoning that a model wrote into its text."""

import re
from collections.abc import Iterator

from backend.llm.dialects.harmony import MESSAGE_END

THOUGHT_END = re.compile(r"</think(?:ing)?\s*+>")
_THOUGHT = re.compile(r"<think(?:ing)?\s*+>")

_ENDS = {
    _THOUGHT: THOUGHT_END,
    # Not if it is left over after a name in JSON, and not if the message is a call.
    re.compile(r"<\|channel\|>\s*+analysis\b(?!\s*+(?:[\"']|to=))"): MESSAGE_END,
    re.compile(r"<\|begin_of_thought\|>"): re.compile(r"<\|end_of_thought\|>"),
    re.compile(r"<\|START_THINKING\|>"): re.compile(r"<\|END_THINKING\|>"),
    re.compile(r"\[THINK\]"): re.compile(r"\[/THINK\]"),
}
_BEGIN = re.compile("|".join(f"(?:{begin.pattern})" for begin in _ENDS))

_CALL = re.compile(r"<(?:[|｜]tool|tool_call\b|function\s*+=|function\s++name|invoke\s)")
"""A call ends reasoning that has no closing mark."""


def without_reasoning(text: str) -> str:
    """Return the text without its reasoning, closed or not."""
    return "".join(_said(_after_orphan(text)))


def end_of(beginning: str) -> re.Pattern[str]:
    """Return the pattern that ends reasoning with this beginning."""
    return next(end for begin, end in _ENDS.items() if begin.match(beginning))


def calls_begin(thought: str) -> int | None:
    """Return where calls begin in reasoning that was never closed; None if there are none."""
    found = _CALL.search(thought)
    return found.start() if found else None


def _after_orphan(text: str) -> str:
    """Drop reasoning that only has a closing tag: some servers swallow the opening one."""
    end = THOUGHT_END.search(text)
    if end is None or _THOUGHT.search(text, 0, end.start()):
        return text
    return text[end.end() :]


def _said(text: str) -> Iterator[str]:
    at = 0
    while begin := _BEGIN.search(text, at):
        yield text[at : begin.start()]
        end = end_of(begin[0]).search(text, begin.end())
        if end is None:
            calls = calls_begin(text[begin.end() :])
            yield "" if calls is None else text[begin.end() + calls :]
            return
        at = end.end()
    yield text[at:]
