"""Cleans up the names of tools as models write them."""

import re

MAX_NAME_CHARACTERS = 64
"""The longest name that the upstream accepts in a history."""

UNKNOWN_TOOL = "unknown_tool"
"""Replaces the name of a call that has none."""

_LEADING_TOKENS = re.compile(r"(?:\s*<[|｜][^<>|｜]{1,40}[|｜]>)+")
_RECIPIENT = re.compile(r"\bto\s*=\s*")
_NAMESPACE = re.compile(r"(?:functions?|tools?|default_api|multi_tool_use)[.:/]+")
_KIMI_NUMBER = re.compile(r":\d+\Z")


def cleaned(name: str) -> str:
    """Return `get_weather` for `functions.get_weather:0`, `get_weather<|channel|>commentary`, …"""
    if found := _RECIPIENT.search(name):
        name = name[found.end() :]
    elif tokens := _LEADING_TOKENS.match(name):
        name = name[tokens.end() :]
    # A token, a tag or another word may follow the name.
    name = re.split(r"[\s<(\[{]", name.strip("\"'` \t\r\n"), maxsplit=1)[0]
    name = name.lstrip("\"'`:;,.=>)")
    while found := _NAMESPACE.match(name):
        name = name[found.end() :]
    return _KIMI_NUMBER.sub("", name.rstrip("\"'`:;,.=>)"))


def sendable(name: str) -> str:
    """Return a name that the upstream accepts: letters, digits, `_` and `-`, and never empty."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", cleaned(name))[:MAX_NAME_CHARACTERS] or UNKNOWN_TOOL
