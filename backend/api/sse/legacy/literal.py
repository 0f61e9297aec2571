"""Format lists and objects like the first backend: a Python literal in a fence, in a JSON string.

A page decodes the JSON string, removes the fence, and parses the literal: as Python, or as JSON
after replacing each `'` by `"`. Both get the same value, because characters that are special in
either syntax are written as an escape that both know. Pages that strip the outer quotes by hand
instead of decoding the JSON string show these escapes.
"""

import re
from collections.abc import Mapping, Sequence

from backend.domain.conversation import as_json

FENCE = "```"

# Quotes, the back quote of the fence, the backslash of escapes, control characters (which JSON
# strings must not contain), and line breaks.
_SPECIAL = re.compile("['\"`\\\\\x00-\x1f\x7f-\x9f\u2028\u2029]")


def fenced(value: Sequence[str] | Mapping[str, str]) -> str:
    """Return for example `"```['09:00', '10:00']```"`, including the outer quotes."""
    return as_json(f"{FENCE}{_literal(value)}{FENCE}")


def _literal(value: Sequence[str] | Mapping[str, str]) -> str:
    if isinstance(value, Mapping):
        pairs = (f"{_text(name)}: {_text(each)}" for name, each in value.items())
        return f"{{{', '.join(pairs)}}}"
    return f"[{', '.join(map(_text, value))}]"


def _text(value: str) -> str:
    return f"'{_SPECIAL.sub(_escape, value)}'"


def _escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
