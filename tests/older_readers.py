"""Pages of the older family that read a stream in other ways than `tests/older_page.py`."""

import ast
import json
import re
from collections.abc import Callable
from typing import Any


def first_lines(stream: str) -> list[tuple[str, str]]:
    """The events as pages see them that read only the first line of data."""
    events = []
    for block in stream.split("\n\n"):
        name = re.search(r"^event: (.*)$", block, re.MULTILINE)
        data = re.search(r"^data: (.*)$", block, re.MULTILINE)
        if name and data:
            events.append((name[1], data[1]))
    return events


def joined_as_sent(stream: str) -> str:
    return "".join(data for event, data in first_lines(stream) if event == "chunk")


def trimmed_and_joined(stream: str) -> str:
    """The text as a page shows it that trims each chunk and joins them with spaces."""
    return " ".join(
        data.strip() for event, data in first_lines(stream) if event == "chunk" and data.strip()
    )


def outputs(stream: str) -> list[dict[str, Any]]:
    return [json.loads(data) for event, data in first_lines(stream) if event == "tool_output"]


def weather_card(sentence: str) -> tuple[str, str]:
    """The temperature and the picture that a page finds in the sentence.

    Raises:
        TypeError: the sentence lacks one of them.
    """
    degrees = re.search(r"(\d+)°C", sentence)
    picture = re.search("sunny|cloudy|rainy|snowy|foggy|windy", sentence, re.IGNORECASE)
    return degrees[1], picture[0]  # type: ignore[index]  # a page would break as well


def map_search(output: str) -> str:
    """The query of a page that searches a map for the first sentence of an address."""
    return output.split(". ")[0]


def by_replacing(output: str) -> Any:
    """Parse a fenced literal as JSON: find the fence by a pattern, and replace each `'` by `"`."""
    found = re.fullmatch(r"```([^`]*)```", json.loads(output))
    assert found, output
    return json.loads(found[1].replace("'", '"'))


def by_python(output: str) -> Any:
    return ast.literal_eval(json.loads(output).strip("`"))


LITERAL_READERS: list[Callable[[str], Any]] = [by_replacing, by_python]
