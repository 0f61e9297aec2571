"""Finds the arguments in the text of one call."""

from typing import Any

from backend.llm.dialects.values import read_value


def object_in(text: str) -> Any:
    """Return the first object in the text; an empty object if there is none.

    A broken object is returned as text, so that validation can tell the model what is wrong.
    """
    start = text.find("{")
    if start < 0:
        return {}
    try:
        return read_value(text, start)[0]
    except ValueError:
        return text[start:].rstrip("> \r\n\t`")
