"""The calls in a text that a model wrote as a whole."""

import re
from collections.abc import Callable

from backend.llm.dialects import harmony, hermes, json_calls, kimi, mistral, pythonic
from backend.llm.dialects.known_tools import KnownTools, WrittenCall
from backend.llm.dialects.reasoning import without_reasoning

FAMILIES: tuple[Callable[[str, KnownTools], list[WrittenCall]], ...] = (
    kimi.calls, harmony.calls, hermes.calls, json_calls.calls, pythonic.calls, mistral.calls,
)  # fmt: skip
"""Those with marks of their own come first; the first that finds a call has read the text."""

MAX_CALLS = 32
"""In one text. No model asks for so many at once."""

_MARKUP = re.compile(
    r"<[|｜]|</?(?:think|tool|function|invoke|param|arg_|antml:|minimax:)"
    r"|\[/?(?:TOOL|THINK|ARGS)|\bto=|```|~~~|[{\[]\s*+[\"'{\[]|\A\s*+[{\[<]"
)


def calls_in(text: str, tools: KnownTools) -> list[WrittenCall]:
    """The calls of known tools, in order; none in what the model only thought."""
    return calls_of_block(without_reasoning(text), tools)


def calls_of_block(text: str, tools: KnownTools) -> list[WrittenCall]:
    """The calls in a text that is no thought."""
    for family in FAMILIES:
        if found := family(text, tools):
            return found[:MAX_CALLS]
    return []


def has_markup(text: str, tools: KnownTools) -> bool:
    """Whether there is anything in it that no person should read."""
    if _MARKUP.search(text):
        return True
    return any(re.search(rf"\b{re.escape(name)}\s*\(", text) for name in tools.names)
