"""Hostile texts that try to break the readers or to keep them busy."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.llm.dialects.calls import calls_in, has_markup
from backend.llm.dialects.text_reader import TextReader
from tests.unit.llm.dialects.tools import TOOLS

# Readers take up to 2 µs per character. In quadratic time, this text would take minutes.
SIZE = 200_000
BOUND_SECONDS = 20e-6 * SIZE

UNITS = [
    "<|", "[", "{", '{"', "[{", "<tool_call>", "<tool_call>get_weather", "<think>", "</think>",
    "<|channel|>", "<|a|>", "<function=", "<function   ", " ", "`", "get_weather('", "to=",
    "<|tool_call_begin|>get_weather", '{"a":', "{a:", "{'", "<function=get_weather><parameter=a",
    "<arg_key>", "<tool_call>{}</tool_call>", "\\", '{"\\', "<think>x</think>", "<｜", "[T", "a.",
    '{"name": "get_weather", "arguments": {}}', "get_weather{", "{a:[1,[1,", "<tool_call>{",
    "<|channel|>commentary to=functions.get_weather<|message|>{",
]  # fmt: skip

PIECES = st.lists(
    st.sampled_from([*UNITS, "get_weather", "(", ")", "}", "]", ">", '"', "\n", "Paris", ":", ","])
).map("".join)


@pytest.mark.parametrize("unit", UNITS)
def test_many_characters_take_linear_time(unit: str) -> None:
    text = unit * (SIZE // len(unit))
    begun = time.process_time()

    calls_in(text, TOOLS)
    has_markup(text, TOOLS)
    reader = TextReader(TOOLS)
    reader.feed(text)
    reader.end()

    assert time.process_time() - begun < BOUND_SECONDS


@pytest.mark.parametrize("unit", UNITS)
def test_so_do_many_in_small_pieces(unit: str) -> None:
    text = unit * (SIZE // 5 // len(unit))
    begun = time.process_time()

    reader = TextReader(TOOLS)
    for character in text:
        reader.feed(character)
    reader.end()

    assert time.process_time() - begun < BOUND_SECONDS


@given(st.text() | PIECES)
def test_no_text_breaks_the_readers(text: str) -> None:
    has_markup(text, TOOLS)

    for call in calls_in(text, TOOLS):
        call.arguments.encode()
