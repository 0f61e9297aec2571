"""Kimi and DeepSeek: calls between special tokens, with JSON arguments after the name.

Example: `<|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>{"city": "Paris"}`
"""

import re
from collections.abc import Iterator

from backend.llm.dialects.known_tools import KnownTools, WrittenCall
from backend.llm.dialects.objects import object_in

_TOKEN = re.compile(r"<[|｜]([^\s<>|｜]{1,40}+)[|｜]>")
_SEPARATORS = {"tool_call_argument_begin", "tool_sep"}
_BEGINNINGS = {"", "tool_call_begin", "tool_calls_section_begin", "tool_calls_begin"}
_WORD = re.compile(r"\s*+([\w.:/-]++)")


def calls(text: str, tools: KnownTools) -> list[WrittenCall]:
    """Return the calls between tokens, even if some of the tokens are missing."""
    if "tool_call" not in text.replace("▁", "_"):  # DeepSeek writes U+2581 for an underscore
        return []
    return list(_calls(_pieces(text), tools))


def _pieces(text: str) -> list[tuple[str, str]]:
    """Split into tokens, without their brackets, each with the text after it."""
    parts = _TOKEN.split(text)
    names = ["", *(name.replace("▁", "_") for name in parts[1::2])]
    return list(zip(names, parts[::2], strict=True))


def _calls(pieces: list[tuple[str, str]], tools: KnownTools) -> Iterator[WrittenCall]:
    for (token, text), (following, more) in zip(pieces, [*pieces[1:], ("", "")], strict=True):
        if token not in _BEGINNINGS or not text.strip():
            continue
        if following in _SEPARATORS:
            # DeepSeek writes `function` where Kimi writes the name, and the name after it.
            call = _named(text.split()[-1], more, tools) or _first_word(more, tools)
        elif token:
            call = _first_word(text, tools)
        else:
            continue
        if call is not None:
            yield call


def _named(name: str, arguments: str, tools: KnownTools) -> WrittenCall | None:
    known = tools.find(name)
    return None if known is None else tools.call(known, object_in(arguments))


def _first_word(text: str, tools: KnownTools) -> WrittenCall | None:
    word = _WORD.match(text)
    return None if word is None else _named(word[1], text[word.end() :], tools)
