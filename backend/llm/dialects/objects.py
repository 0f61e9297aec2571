"""The object of arguments in a text that is about one call."""

from typing import Any

from backend.llm.dialects.values import read_value


def object_in(text: str) -> Any:
    """The first object in the text; the text from there on if it is broken, so that the model can
    be told what is wrong with it; an empty one if there is none.
    """
    start = text.find("{")
    if start < 0:
        return {}
    try:
        return read_value(text, start)[0]
    except ValueError:
        return text[start:].rstrip("> \r\n\t`")
