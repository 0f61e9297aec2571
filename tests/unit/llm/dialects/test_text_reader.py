"""A completion's text, cut in any way: which part is shown, and which calls are found."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backend.llm.dialects.known_tools import KnownTools
from backend.llm.dialects.text_reader import MAX_HELD_CHARACTERS, TextReader, shown_part
from tests.unit.llm.dialects.test_families import HARMONY, HERMES, JSON, KIMI, LLAMA, PYTHON
from tests.unit.llm.dialects.tools import PARIS, SPOKEN, TOOLS, pairs

JSON_CALL = f'{{"name": "get_weather", "arguments": {SPOKEN}}}'
TAGGED = f"<tool_call>\n{JSON_CALL}\n</tool_call>"
HARMONY_CALL = f"<|channel|>commentary to=functions.get_weather<|message|>{SPOKEN}<|call|>"


def read(*pieces: str, tools: KnownTools = TOOLS) -> tuple[str, list[tuple[str, Any]], bool]:
    """Return the shown text, the calls, and whether there was an unreadable call."""
    reader = TextReader(tools)
    shown = "".join([reader.feed(piece) for piece in pieces]) + reader.end()
    return shown, pairs(reader.calls), reader.is_unread


SHOWN = [
    ("Hello.", "Hello."),
    ("<think>hm</think>\n\nHello.", "Hello."),
    ("\n<think>\nhm\n</think>\n\n\nHello.\n", "Hello.\n"),
    ("<thinking>hm < <b></thinking>Hello.", "Hello."),
    ("One. <think>hm</think>\n\nTwo.", "One. Two."),
    ("One.<think>hm</think> Two.", "One. Two."),
    ("One.\n\n<think>hm</think>\n\nTwo.", "One.\n\nTwo."),
    ("hm</think>Hello.", "hmHello."),
    ("<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>Hello.",
     "Hello."),
    ("<|channel|>final<|message|>Hello.<|return|>", "Hello."),
    ("<|channel|>analysis hm <|end|>Hello.", "Hello."),
    ("<|channel|>commentary<|message|>I look.<|end|><|channel|>analysis<|message|>hm", "I look."),
    ("analysis<|message|>hm<|end|>Hello.", "Hello."),
    ("assistant<|channel|>final<|message|>Hello.", "Hello."),
    ("<|im_start|>assistant\nHello.<|im_end|>", "Hello."),
    ("Hello.<|eot_id|>", "Hello."),
    ("<|begin_of_thought|>hm<|end_of_thought|>Hello.", "Hello."),
    ("[THINK]hm[/THINK]Hello.", "Hello."),
    ("<tool_call></tool_call>Hello.", "Hello."),
    ("<tool_response>{}</tool_response>Hello.", "Hello."),
    ("<think>hm</think>" + "\n" * 300 + "Hello.", "Hello."),
]  # fmt: skip


@pytest.mark.parametrize(("text", "shown"), SHOWN)
def test_thoughts_and_tokens_are_not_shown(text: str, shown: str) -> None:
    assert read(text) == (shown, [], False)
    assert shown_part(text, TOOLS) == shown


CALLED = [
    (TAGGED, ""),
    (f"Let me see. {TAGGED} Done.", "Let me see. Done."),
    (f"<think>hm</think>{TAGGED}", ""),
    (f"<think>hm</think>\n{JSON_CALL}", ""),
    (f"<think>hm {TAGGED}", ""),
    (f"<tool_call>{JSON_CALL}", ""),
    (f"<functioncall>{JSON_CALL}</functioncall>", ""),
    (f"<tool_use>{JSON_CALL}</tool_use>", ""),
    (f"<function_calls>[{JSON_CALL}]</function_calls>", ""),
    (f"{JSON_CALL}<|call|>", ""),
    (JSON_CALL, ""),
    (f"\n\n{JSON_CALL}\n\nI look it up.", "I look it up."),
    (f"```json\n{JSON_CALL}\n```", ""),
    (f"```\n[{JSON_CALL}]\n```\nDone.", "Done."),
    (f"```\n{TAGGED}\n```", ""),
    ('get_weather(city="Paris")', ""),
    ('[get_weather(city="Paris")]', ""),
    ('```python\nget_weather(city="Paris")\n```', ""),
    (HARMONY_CALL, ""),
    (f"<|channel|>analysis<|message|>hm<|end|><|start|>assistant{HARMONY_CALL}", ""),
    (f"I look. {HARMONY_CALL}<|start|>assistant<|channel|>final<|message|>Well.", "I look. Well."),
    (f"commentary to=functions.get_weather <|constrain|>json<|message|>{SPOKEN}", ""),
    (f"[TOOL_CALLS]get_weather{SPOKEN}", ""),
    (f"<|python_tag|>{JSON_CALL}<|eom_id|>", ""),
    (f"<tool_call>{' ' * 3000}{JSON_CALL}</tool_call>", ""),
]


@pytest.mark.parametrize(("text", "shown"), CALLED)
def test_calls_are_run_and_not_shown(text: str, shown: str) -> None:
    assert read(text) == (shown, [PARIS], False)


MARKED = [*HARMONY[:2], *HARMONY[4:7], *KIMI[:4], *HERMES[:9], *LLAMA, *JSON[:10], *PYTHON[:5]]


@pytest.mark.parametrize(("text", "expected"), MARKED)
def test_a_call_with_marks_of_its_own_is_found_in_a_stream(
    text: str, expected: tuple[str, Any]
) -> None:
    assert read(text) == ("", [expected], False)


UNREAD = [
    '<tool_call>{"name": "dance", "arguments": {}}</tool_call>',
    "<tool_call>{broken</tool_call>",
    '{"name": "get_weather", "arguments": {"city": "Par',
    '{"name": "dance", "arguments": {}}',
    "<|channel|>commentary to=functions.dance<|message|>{}<|call|>",
    "get_weather(city=Paris)",
]


@pytest.mark.parametrize("text", UNREAD)
def test_a_call_that_cannot_be_read_is_not_shown(text: str) -> None:
    assert read(text) == ("", [], True)


ORDINARY = [
    "a < b and c > d",
    "x <- y <| z |> w <= v",
    "<b>bold</b> <thinker> <functional> <tool>",
    "<think about it",
    "<function is called",
    "To cancel say <function=cancel> please",
    "\n<tool_call> is how Qwen begins",
    "  \n indented",
    "[Apex GT](https://example.com) [T] [TOOLS] [",
    "{name} is a placeholder",
    '{"answer": 42}',
    '{"name": "Apex GT", "parameters": {"doors": 2}}',
    '{"answer": "get_weather(city=\'Paris\')"} and more',
    "{}",
    "[1, 2, 3]",
    '[{"name": "Apex GT"}]',
    '["a"]',
    '{"a": "it ends he',
    "```\nsome code\n```",
    "```python\nprint('x')\n```",
    '```json\n{"a": 1}\n```\nThere.',
    "```html\n<div>x</div>\n```",
    "get_weather is a tool",
    "get_weather() takes a city",
    "get_weather",
    "getting there",
    "assistant here, final answer to=me",
    "commentary to follow",
    "An example: {\"name\": \"get_weather\", \"arguments\": {}}",
    "In a sentence get_weather(city='Paris') is shown.",
    "   ",
    " " * 300 + JSON_CALL,
    "<",
    "<|",
    "<|channel",
    "<tool_cal",
    "`",
]  # fmt: skip


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_is_shown_as_it_is(text: str) -> None:
    assert read(text) == (text, [], False)


EVERY = [*(text for text, _ in SHOWN + CALLED + MARKED), *UNREAD, *ORDINARY]


@pytest.mark.parametrize("text", EVERY)
def test_the_pieces_do_not_matter(text: str) -> None:
    whole = read(text)

    assert read(*text) == whole
    for at in range(len(text)):
        assert read(text[:at], "", text[at:]) == whole


@given(st.lists(st.sampled_from(EVERY), min_size=1, max_size=3), st.data())
def test_nor_do_they_in_a_text_of_several_parts(texts: list[str], data: st.DataObject) -> None:
    text = "\n".join(texts)
    places = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]

    assert read(*pieces) == read(text)


PROSE = st.text(
    alphabet=st.characters(exclude_characters="`", exclude_categories=["Cs"])
) | st.text(alphabet="a <>[]{}()|/:,.\n\"'tT")


@given(PROSE, st.integers(1, 7))
@example("{" * 5000, 1)
@example(" " * 5000 + "x", 1)
def test_of_ordinary_text_nothing_is_lost_or_doubled(text: str, size: int) -> None:
    pieces = [text[at : at + size] for at in range(0, len(text), size)]

    assert read(*pieces) == (text, [], False)


@pytest.mark.parametrize("text", ["Hello there.", "a < b", "{name} ", "[link](x) ", "1 <2", "<b>"])
def test_ordinary_text_is_not_delayed(text: str) -> None:
    reader = TextReader(TOOLS)

    assert "".join([reader.feed(character) for character in text]) == text


def test_what_may_become_markup_is_held_until_it_cannot() -> None:
    reader = TextReader(TOOLS)

    heard = [reader.feed(piece) for piece in ("a ", "<", "to", "ol", "box", ">")]

    assert heard == ["a ", "", "", "", "<toolbox", ">"]


@pytest.mark.parametrize(
    "opening", ['{"items": [', "```json\n[{", "<tool_call>", "[TOOL_CALLS]", " \n"]
)
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_more_than_four_kilobytes_are_ordinary(opening: str, size: int) -> None:
    text = opening + "1," * MAX_HELD_CHARACTERS
    reader = TextReader(TOOLS)

    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    heard = "".join([reader.feed(piece) for piece in pieces])

    assert heard == text
    assert reader.end() == ""


def test_never_more_than_four_kilobytes_of_what_may_be_ordinary_are_held() -> None:
    reader = TextReader(TOOLS)
    text = '{"items": [' + "1," * MAX_HELD_CHARACTERS

    held, most = 0, 0
    for character in text:
        held += 1 - len(reader.feed(character))
        most = max(most, held)

    assert most <= MAX_HELD_CHARACTERS + 1


def test_a_long_call_of_a_known_tool_is_still_no_text() -> None:
    city = "x" * 2 * MAX_HELD_CHARACTERS
    text = f'<tool_call>{{"name": "get_weather", "arguments": {{"city": "{city}"}}}}</tool_call>'

    assert read(text) == ("", [("get_weather", {"city": city})], False)
    assert read(*text) == read(text)


def test_without_tools_thoughts_are_hidden_and_nothing_is_called() -> None:
    none = KnownTools(())

    assert read("<think>hm</think>It went well.", tools=none) == ("It went well.", [], False)
    assert read('{"name": "get_weather"}', tools=none) == ('{"name": "get_weather"}', [], False)
