"""JSON: `{"name": …, "arguments": …}` and its variants, alone, in lists, or one after another."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from backend.llm.dialects.known_tools import KnownTools, WrittenCall
from backend.llm.dialects.values import read_value

_CANDIDATE = re.compile(r"""\{\s*+["'}A-Za-z_]|\[\s*+\{""")

_MAX_ATTEMPTS = 30
"""How many brackets that begin no value are tried. Bounds the time that hostile text takes."""

_NAMES = (
    "name", "tool_name", "function_name", "recipient_name", "tool", "function", "action",
)  # fmt: skip
_ARGUMENTS = (
    "arguments", "parameters", "input", "args", "params", "tool_input", "action_input",
    "tool_args", "function_args", "kwargs",
)  # fmt: skip
_WRAPPERS = (
    "tool_calls", "tool_call", "function_calls", "function_call", "tool_uses", "calls", "function",
)  # fmt: skip
_MAX_WRAPPERS = 4
"""How many lists and objects may be around a call."""


def calls(text: str, tools: KnownTools) -> list[WrittenCall]:
    return [call for value in _values(text) for call in calls_of(value, tools)]


def calls_of(value: Any, tools: KnownTools, left: int = _MAX_WRAPPERS) -> Iterator[WrittenCall]:
    """Yield the calls in a decoded value, if it is one."""
    if isinstance(value, list) and left:
        for item in value:
            yield from calls_of(item, tools, left - 1)
    elif isinstance(value, dict):
        wrapped = [inner for key in _WRAPPERS if isinstance(inner := value.get(key), dict | list)]
        if wrapped and left:
            for inner in wrapped:
                yield from calls_of(inner, tools, left - 1)
        elif call := _call(value, tools):
            yield call


def is_call_shaped(value: Any) -> bool:
    """Whether the value looks like a call, even of a tool that we do not have."""
    if isinstance(value, list):
        return bool(value) and all(map(is_call_shaped, value))
    if not isinstance(value, dict):
        return False
    is_wrapped = value.get("type") == "function" or isinstance(value.get("tool_calls"), list)
    return is_wrapped or (isinstance(value.get("name"), str) and "arguments" in value)


def _call(value: Mapping[str, Any], tools: KnownTools) -> WrittenCall | None:
    for key in _NAMES:
        written = value.get(key)
        if isinstance(written, str) and (name := tools.find(written)):
            return tools.call(name, _arguments(value, tools.fields(name)))
    # The name as the only key: `{"get_weather": {"city": "Paris"}}`.
    match list(value.items()):
        case [(name, dict() | None as arguments)]:
            return tools.call(name, arguments)
    return None


def _arguments(value: Mapping[str, Any], fields: tuple[str, ...]) -> Any:
    """The arguments: from their own object, or else from fields beside the name."""
    for key in _ARGUMENTS:
        if key in value:
            return value[key]
    return {field: value[field] for field in fields if field in value}


def _values(text: str) -> Iterator[Any]:
    at, attempts = 0, 0
    while attempts < _MAX_ATTEMPTS and (found := _CANDIDATE.search(text, at)):
        try:
            value, at = read_value(text, found.start())
        except ValueError:
            attempts += 1
            at = found.start() + 1
        else:
            yield value
