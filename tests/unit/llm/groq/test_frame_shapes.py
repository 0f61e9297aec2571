"""The strict and the lenient reading agree on well-formed frames."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.llm.groq.frame_shapes import Frame, FrameDelta, NotAFrame, decode

TEXTS = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


FUNCTIONS = st.none() | optional(name=TEXTS, arguments=TEXTS)
CALLS = optional(index=st.none() | st.integers(0, 9), id=TEXTS, function=FUNCTIONS)
DELTAS = optional(
    content=TEXTS,
    refusal=TEXTS,
    reasoning=TEXTS,
    tool_calls=st.lists(CALLS, max_size=2),
    function_call=FUNCTIONS,
)
CHOICES = optional(
    index=st.none() | st.integers(0, 2), delta=DELTAS, finish_reason=TEXTS, usage=st.none()
)
FRAMES = optional(
    id=TEXTS, model=TEXTS, choices=st.lists(CHOICES, max_size=2), usage=st.none() | st.integers()
)


@given(FRAMES)
def test_both_readings_of_a_good_frame_agree(frame: dict[str, Any]) -> None:
    strict = decode(json.dumps(frame).encode())
    # One field with an unexpected type makes the whole frame go through the lenient reading.
    loose = decode(json.dumps({**frame, "id": 7}).encode())

    assert loose.id == "7"
    loose.id = strict.id
    assert _without_defaults(loose) == _without_defaults(strict)


def _without_defaults(frame: Frame) -> Frame:
    """Treat an empty list of calls and an empty delta like missing ones."""
    for choice in frame.choices or ():
        choice.delta = choice.delta or FrameDelta()
        choice.delta.tool_calls = choice.delta.tool_calls or None
    frame.choices = frame.choices or None
    return frame


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"5",
        b'"text"',
        b"[1]",
        b'{"choices": "no"}',
        b'{"choices": [{"delta": 1}]}',
        b"[" * 100_000,
        b'{"choices": ' + b"[" * 100_000,
        b"\xff",
    ],
    ids=lambda payload: str(payload[:24]),
)
def test_bytes_without_a_meaning_are_no_frame(payload: bytes) -> None:
    with pytest.raises(NotAFrame):
        decode(payload)
