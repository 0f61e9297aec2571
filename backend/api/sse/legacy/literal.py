"""Python literals in a fence, as text in JSON: what the first backend made of lists and objects.

A page takes the JSON off, then the fence, and reads the literal: by turning each `'` into `"` and
parsing it as JSON, or with a parser of Python. Both read the same here, whatever is in a value,
since what either takes for its own is written as an escape that both know.

A page that does not take the JSON off but cuts quotes by hand shows such an escape as it is.
"""

import re
from collections.abc import Mapping, Sequence

from backend.domain.conversation import as_json

FENCE = "```"

# Quotes, the sign of the fence, the escape itself, and what may not stand in a text of JSON or
# breaks a line.
_SPECIAL = re.compile("['\"`\\\\\x00-\x1f\x7f-\x9f\u2028\u2029]")


def fenced(value: Sequence[str] | Mapping[str, str]) -> str:
    """For example `"```['09:00', '10:00']```"`, the outer quotes included."""
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
