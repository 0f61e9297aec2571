"""Tags, as Hermes, Qwen, Llama, GLM and Anthropic's models write them.

This file reads calls with the tool's name in a tag: `<function=NAME>{json}</function>` and its
variants (no bracket, `=` or `(` before the arguments, a stray `>` after them, no closing tag),
`<function name="NAME">`, `<invoke name="NAME">`, and arguments as tags. `json_calls` reads
`<tool_call>{"name": …}</tool_call>`.
"""

import re
from collections.abc import Iterator
from typing import Any

from backend.llm.dialects.known_tools import KnownTools, WrittenCall
from backend.llm.dialects.objects import object_in

NAMESPACES = r"(?:(?:minimax|antml):|｜DSML｜)?"
_NAMED = r"""\s*+(?:=|\(|(?<=\s)name\s*+=)\s*+["']?"""

_HEAD = re.compile(
    rf"<{NAMESPACES}(?:function|invoke|tool_call){_NAMED}\s*+(?P<attribute>[\w.:-]++)[\"']?"
    r"|<(?:tool_name|function_name|name)>\s*+(?P<element>[\w.:-]++)\s*+</[a-z_]++>"
    r"|<tool_call>\s*+(?P<bare>[\w.:-]++)\s*+(?=<arg_key>|</tool_call>|\Z)"
)
_CLOSED = re.compile(rf"</{NAMESPACES}(?:function|invoke|tool_call)>")
_FIELD = rf"{NAMESPACES}(?:parameter|param|arg)"
_PARAMETER = re.compile(
    rf"<{_FIELD}{_NAMED}\s*+(?P<name>[\w.-]++)[^<>]{{0,100}}+>"
    rf"(?P<value>.*?)(?:</{_FIELD}>|(?=<{_FIELD}\b)|\Z)",
    re.DOTALL,
)
_PAIR = re.compile(
    r"<arg_key>(?P<name>[^<]*+)</arg_key>\s*+"
    r"<arg_value>(?P<value>.*?)(?:</arg_value>|(?=<arg_key>)|\Z)",
    re.DOTALL,
)
_ENTITIES = {"&lt;": "<", "&gt;": ">", "&quot;": '"', "&apos;": "'", "&amp;": "&"}
_ENTITY = re.compile("|".join(_ENTITIES))


def calls(text: str, tools: KnownTools) -> list[WrittenCall]:
    return list(_calls(text, tools))


def _calls(text: str, tools: KnownTools) -> Iterator[WrittenCall]:
    heads = list(_HEAD.finditer(text))
    ends = [head.start() for head in heads[1:]] + [len(text)]
    for head, end in zip(heads, ends, strict=False):
        name = tools.find(head["attribute"] or head["element"] or head["bare"])
        if name is None:
            continue
        closed = _CLOSED.search(text, head.end(), end)
        body = text[head.end() : closed.start() if closed else end]
        if call := tools.call(name, _arguments(body, name, tools)):
            yield call


def _arguments(body: str, name: str, tools: KnownTools) -> Any:
    fields = [(found["name"], found["value"]) for found in _PARAMETER.finditer(body)]
    fields = fields or [(found["name"], found["value"]) for found in _PAIR.finditer(body)]
    fields = fields or _elements(body, tools.fields(name))
    if not fields:
        return object_in(body)
    return {
        field.strip(): tools.typed(name, field.strip(), _text(value)) for field, value in fields
    }


def _elements(body: str, names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Read fields that are tags of their own: `<city>Paris</city>`."""
    found = []
    for name in names:
        _, opening, rest = body.partition(f"<{name}>")
        value, closing, _ = rest.partition(f"</{name}>")
        if opening and closing:
            found.append((name, value))
    return found


def _text(value: str) -> str:
    return _ENTITY.sub(lambda entity: _ENTITIES[entity[0]], value)
