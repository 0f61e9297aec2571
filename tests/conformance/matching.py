"""Compare a value with what is expected of it.

- an object has at least the expected keys; `key?` may be missing, and null also means missing
- a list has the expected items in order
- `<string>`, `<integer>`, `<positive>`, `<boolean>`, `<object>` and `<any>` are kinds of values
- `/pattern/` matches a whole string; null matches the pattern as the text `null`
- anything else is the value itself
"""

import re
from collections.abc import Mapping
from typing import Any

_KINDS: Mapping[str, Any] = {
    "<string>": lambda value: isinstance(value, str),
    "<integer>": lambda value: type(value) is int,
    "<positive>": lambda value: type(value) is int and value > 0,
    "<boolean>": lambda value: isinstance(value, bool),
    "<object>": lambda value: isinstance(value, dict),
    "<any>": lambda value: True,  # noqa: ARG005 - it takes any value
}


def difference(expected: Any, value: Any, at: str = "") -> str | None:
    """Where and how `value` is not as expected; None if it is."""
    match expected:
        case dict():
            return _of_object(expected, value, at)
        case list() if isinstance(value, list) and len(value) == len(expected):
            pairs = enumerate(zip(expected, value, strict=True))
            found = (difference(wanted, has, f"{at}[{n}]") for n, (wanted, has) in pairs)
            return next(filter(None, found), None)
        case str() if expected in _KINDS:
            matches = _KINDS[expected](value)
        case str() if len(expected) > 1 and expected[0] == expected[-1] == "/":
            text = "null" if value is None else value
            matches = isinstance(text, str) and re.fullmatch(expected[1:-1], text) is not None
        case _:
            matches = expected == value and type(expected) is type(value)
    return None if matches else f"{at or 'the value'} is {value!r}, and not {expected!r}"


def _of_object(expected: Mapping[str, Any], value: Any, at: str) -> str | None:
    if not isinstance(value, Mapping):
        return f"{at or 'the value'} is {value!r}, and no object"
    for key, wanted in expected.items():
        name = key.removesuffix("?")
        if wanted is None and name not in value:
            continue
        if name not in value:
            if name == key:
                return f"{at}.{name} is missing"
        elif found := difference(wanted, value[name], f"{at}.{name}"):
            return found
    return None


def sequence(pattern: str) -> str:
    """A pattern of event names as one of text, in which one space ends each name."""
    return re.sub(r"\s+", "", re.sub(r"[a-z_]+", r"(?:\g<0>_)", pattern)).replace("_)", " )")
