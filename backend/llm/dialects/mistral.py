"""Mistral: the name, followed by an object: `[TOOL_CALLS]get_weather[ARGS]{"city": "Paris"}`.

Many small models write the same without the markers.
"""

import re
from collections.abc import Iterator

from backend.llm.dialects.known_tools import KnownTools, WrittenCall
from backend.llm.dialects.values import read_value

_HEAD = re.compile(
    r"(?<![\w\"'])(?P<name>[A-Za-z_][\w.:-]{0,80}+)\s*+"
    r"(?:\[CALL_ID\]\w*+\s*+)?(?:\[ARGS\]\s*+)?(?=\{)"
)


def calls(text: str, tools: KnownTools) -> list[WrittenCall]:
    return list(_calls(text, tools)) if tools.are_mentioned_in(text) else []


def _calls(text: str, tools: KnownTools) -> Iterator[WrittenCall]:
    at = 0
    while found := _HEAD.search(text, at):
        at = found.end()
        if (name := tools.find(found["name"])) is None:
            continue
        try:
            arguments, at = read_value(text, found.end())
        except ValueError:
            return
        if call := tools.call(name, arguments):
            yield call
