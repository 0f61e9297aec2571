"""The tools that the texts in these tests call."""

import json
from typing import Any

from backend.llm.dialects.known_tools import KnownTools, WrittenCall
from backend.llm.port import ToolSpec

_WEATHER = {"city": {"type": ["string", "number", "null"]}}
_BOOKING = {
    "seats": {"type": "integer"},
    "price": {"type": "number"},
    "is_paid": {"type": "boolean"},
    "note": {"type": "string"},
    "user": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    "extras": {"type": "array"},
}

SPECS = (
    ToolSpec("get_weather", "", {"type": "object", "properties": _WEATHER}),
    ToolSpec("book", "", {"type": "object", "properties": _BOOKING}),
)
TOOLS = KnownTools(SPECS)

SPOKEN = '{"city": "Paris"}'
PARIS = ("get_weather", {"city": "Paris"})
TOKYO = ("get_weather", {"city": "Tokyo"})
NOTHING: tuple[str, dict[str, Any]] = ("get_weather", {})


def pairs(calls: list[WrittenCall]) -> list[tuple[str, Any]]:
    return [(call.name, _read(call.arguments)) for call in calls]


def _read(arguments: str) -> Any:
    """Decode the arguments. If they are not JSON, keep the text."""
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments
