"""Finds the tool calls in a complete text."""

import re
from collections.abc import Callable

from backend.llm.dialects import harmony, hermes, json_calls, kimi, mistral, pythonic
from backend.llm.dialects.known_tools import KnownTools, WrittenCall
from backend.llm.dialects.reasoning import without_reasoning

FAMILIES: tuple[Callable[[str, KnownTools], list[WrittenCall]], ...] = (
    kimi.calls, harmony.calls, hermes.calls, json_calls.calls, pythonic.calls, mistral.calls,
)  # fmt: skip
"""The order matters: the first family that finds a call wins, so unambiguous ones come first."""

MAX_CALLS = 32
"""The most calls that are read from one text."""

_MARKUP = re.compile(
    r"<[|｜]|</?(?:think|tool|function|invoke|param|arg_|antml:|minimax:)"
    r"|\[/?(?:TOOL|THINK|ARGS)|\bto=|```|~~~|[{\[]\s*+[\"'{\[]|\A\s*+[{\[<]"
)


def calls_in(text: str, tools: KnownTools) -> list[WrittenCall]:
    """Return the calls of known tools, in order, without those in the model's reasoning."""
    return calls_of_block(without_reasoning(text), tools)


def calls_of_block(text: str, tools: KnownTools) -> list[WrittenCall]:
    """Like `calls_in`, for a text that contains no reasoning."""
    for family in FAMILIES:
        if found := family(text, tools):
            return found[:MAX_CALLS]
    return []


def has_markup(text: str, tools: KnownTools) -> bool:
    """Whether the text contains markup, which a person should not see."""
    if _MARKUP.search(text):
        return True
    return any(re.search(rf"\b{re.escape(name)}\s*\(", text) for name in tools.names)
