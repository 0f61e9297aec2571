"""Events as bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.events import Chunk, End, Event, Failure, ToolCalled, ToolOutput, ToolUse
from backend.stream import frame


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (ToolUse("get_weather"), "event: tool_use\ndata: get_weather\n\n"),
        (
            ToolCalled("call_1", "get_weather", {"city": "New York"}),
            'event: tool_call\ndata: {"id": "call_1", "name": "get_weather", '
            '"arguments": {"city": "New York"}}\n\n',
        ),
        (
            ToolOutput("get_weather", {"temperature": "34°C", "city": "New York"}, "call_1"),
            'event: tool_output\ndata: {"name": "get_weather", "output": '
            '{"temperature": "34°C", "city": "New York"}, "id": "call_1"}\n\n',
        ),
        (Chunk(" Some text"), "event: chunk\ndata:  Some text\n\n"),
        (
            Failure("upstream_unavailable", "No.", retryable=True, retry_after=12),
            'event: error\ndata: {"code": "upstream_unavailable", "message": "No.", '
            '"retryable": true, "retry_after": 12}\n\n',
        ),
        (
            Failure("too_many_rounds", "No.", retryable=False),
            'event: error\ndata: {"code": "too_many_rounds", "message": "No.", '
            '"retryable": false}\n\n',
        ),
        (End(), "event: end\ndata: \n\n"),
    ],
    ids=lambda value: value.event if not isinstance(value, str) else "",
)
def test_each_event_has_its_frame(event: Event, expected: str) -> None:
    assert frame(event) == expected.encode()


def parse(stream: str) -> list[tuple[str, str]]:
    """As the HTML standard says: https://html.spec.whatwg.org/multipage/server-sent-events.html"""
    events: list[tuple[str, str]] = []
    name, data = "", list[str]()
    for line in stream.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                events.append((name, "\n".join(data)))
            name, data = "", []
        elif field == "event":
            name = value
        elif field == "data":
            data.append(value)
    return events


@given(st.text())
def test_no_text_can_forge_a_frame(text: str) -> None:
    received = parse(frame(Chunk(text)).decode())

    assert received == [("chunk", text.replace("\r\n", "\n").replace("\r", "\n"))]


@given(st.dictionaries(st.text(), st.text(), max_size=3))
def test_no_output_can_forge_a_frame(output: dict[str, str]) -> None:
    assert len(parse(frame(ToolOutput("x", dict(output), "1")).decode())) == 1
