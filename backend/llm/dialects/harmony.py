"""Harmony, the format of gpt-oss: channels, and tool calls as messages to a function.

Example: `<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{"city": "X"}`
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from backend.llm.dialects.known_tools import KnownTools, WrittenCall
from backend.llm.dialects.objects import object_in

_RECIPIENT = re.compile(r"\bto\s*+=\s*+(?P<name>[\w./:-]{1,200}+)")
_END = re.compile(r"<\|(?:call|end|return|start)\|>")

MESSAGE_END = re.compile(r"<\|(?:call|end|return)\|>|(?=<\|(?:start|channel)\|>)")
"""A message also ends where the next one begins."""

MESSAGE = "<|message|>"

MAX_HEADER_CHARACTERS = 300

_HEADER = re.compile(
    r"(?:\s*+(?:"
    r"<\|start\|>\s*+(?P<role>assistant|user|system|developer|tool|functions\.\w+)?"
    r"|<\|channel\|>\s*+(?P<channel>analysis|commentary|final)?"
    r"|<\|constrain\|>\s*+\w*"
    r"|\bto\s*+=\s*+(?P<recipient>[\w./:-]{1,200})"
    r"|(?:assistant(?:analysis|commentary|final)?|analysis|commentary|final)(?=\s*(?:to=|<\|))"
    r"|json(?=\s*[{<])"
    r"))*+\s*+(?:<\|message\|>)?"
)


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a message. It ends at `end`.

    `is_hidden` marks reasoning, and messages that are not from the assistant.
    """

    end: int
    is_call: bool
    is_hidden: bool


def header(text: str, at: int) -> Header:
    found = _HEADER.match(text, at)
    if found is None:
        return Header(at, is_call=False, is_hidden=False)
    recipient = found["recipient"]
    is_ours = found["role"] in (None, "assistant")
    is_thought = found["channel"] == "analysis" or _is_bare_analysis(found[0])
    is_call = is_ours and recipient not in (None, "user", "assistant", "all")
    return Header(
        found.end(),
        is_call=is_call,
        is_hidden=not is_call and (not is_ours or is_thought or recipient == "assistant"),
    )


def calls(text: str, tools: KnownTools) -> list[WrittenCall]:
    return list(_calls(text, tools))


def _calls(text: str, tools: KnownTools) -> Iterator[WrittenCall]:
    recipients = list(_RECIPIENT.finditer(text))
    ends = [found.start() for found in recipients[1:]] + [len(text)]
    for found, end in zip(recipients, ends, strict=False):
        if (name := tools.find(found["name"])) is None:
            continue
        over = _END.search(text, found.end(), end)
        body = text[found.end() : over.start() if over else end]
        if call := tools.call(name, object_in(body)):
            yield call


def _is_bare_analysis(header: str) -> bool:
    return header.lstrip().startswith(("analysis", "assistantanalysis"))
