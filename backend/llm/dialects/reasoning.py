"""What a model thinks before it answers, where it wrote it into its text."""

import re
from collections.abc import Iterator

from backend.llm.dialects.harmony import MESSAGE_END

THOUGHT_END = re.compile(r"</think(?:ing)?\s*+>")
_THOUGHT = re.compile(r"<think(?:ing)?\s*+>")

_ENDS = {
    _THOUGHT: THOUGHT_END,
    # Not as an artefact of a name in JSON, and not where it calls.
    re.compile(r"<\|channel\|>\s*+analysis\b(?!\s*+(?:[\"']|to=))"): MESSAGE_END,
    re.compile(r"<\|begin_of_thought\|>"): re.compile(r"<\|end_of_thought\|>"),
    re.compile(r"<\|START_THINKING\|>"): re.compile(r"<\|END_THINKING\|>"),
    re.compile(r"\[THINK\]"): re.compile(r"\[/THINK\]"),
}
_BEGIN = re.compile("|".join(f"(?:{begin.pattern})" for begin in _ENDS))

_CALL = re.compile(r"<(?:[|｜]tool|tool_call\b|function\s*+=|function\s++name|invoke\s)")
"""Ends a thought that nothing else ends."""


def without_reasoning(text: str) -> str:
    """The text less the thoughts in it, finished or not."""
    return "".join(_said(_after_orphan(text)))


def end_of(beginning: str) -> re.Pattern[str]:
    """How a thought ends that begins like this."""
    return next(end for begin, end in _ENDS.items() if begin.match(beginning))


def calls_begin(thought: str) -> int | None:
    """Where the calls begin in a thought that did not end."""
    found = _CALL.search(thought)
    return found.start() if found else None


def _after_orphan(text: str) -> str:
    """Some servers keep the opening tag to themselves."""
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
