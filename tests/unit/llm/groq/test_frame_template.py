"""The fast path reads frames with the same result as decoding each in full."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain.errors import UpstreamGarbled
from backend.llm.groq.frame_template import FrameTemplate
from backend.llm.groq.wire import Decoder
from backend.llm.port import Finish

SAME = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "m"}

TEXTS = st.lists(
    st.text(alphabet=st.characters(exclude_characters="\x00", exclude_categories=["Cs"])),
    min_size=1,
)


def line(delta: dict[str, Any], *, ascii_only: bool = False, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
    said = json.dumps({**SAME, "choices": [choice], **more}, ensure_ascii=ascii_only)
    return b"data: " + said.encode() + b"\n\n"


def read(*reads: bytes) -> tuple[str, bool]:
    """Return the text of the reads, and whether one of them failed."""
    decoder = Decoder()
    text = "".join([decoder.feed(data) for data in reads])
    return text, decoder.failure is not None


@given(TEXTS, st.booleans())
def test_any_texts_in_one_read_are_what_they_are(texts: list[str], ascii_only: bool) -> None:
    lines = [line({"content": text}, ascii_only=ascii_only) for text in ("first", *texts)]

    assert read(b"".join(lines)) == ("first" + "".join(texts), False)


@given(TEXTS, st.data())
def test_any_splits_of_the_bytes_bring_the_same_text(texts: list[str], data: st.DataObject) -> None:
    whole = b"".join([line({"content": text}) for text in texts])
    places = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    pieces = [whole[a:b] for a, b in zip([0, *places], [*places, len(whole)], strict=True)]

    assert read(*pieces) == ("".join(texts), False)


TOKEN = line({"content": "a"})
PLANTED = {
    "two texts": TOKEN.replace(b'"a"', b'"a","b"'),
    "a second field": TOKEN.replace(b'"a"', b'"a","content":"b"'),
    "a tool call": TOKEN.replace(b'"a"', b'"a","tool_calls":[{"index":0}]'),
    "no text": TOKEN.replace(b'"a"', b"null"),
    "a number": TOKEN.replace(b'"a"', b"1"),
    "one quote for two": TOKEN.replace(b'"a"', b'"'),
    "a text with a quote at its end": TOKEN.replace(b'"a"', b'"a\\""'),
    "a refusal": TOKEN.replace(b'"content"', b'"refusal"'),
    "half a text": TOKEN.replace(b'"a"', b'"a'),
    "an escape that is none": TOKEN.replace(b'"a"', b'"\\q"'),
    "bytes that are no text": TOKEN.replace(b'"a"', b'"\xff"'),
    "nothing": TOKEN.replace(b'"a"', b""),
    "a line feed": TOKEN.replace(b'"a"', b'"a\nb"'),
    "an error": line({"content": "a"}, error={"message": "no"}),
    "an error of the platform": line({"content": "a"}, x_groq={"error": "no"}),
    "another model": line({"content": "a"}).replace(b'"m"', b'"other"'),
}


@pytest.mark.parametrize("planted", PLANTED.values(), ids=PLANTED)
def test_what_stands_among_them_is_read_as_it_would_be_alone(planted: bytes) -> None:
    alone, has_failed = read(planted)
    rest = "" if has_failed else "zz"
    among = read(TOKEN * 3 + planted + line({"content": "z"}) * 2)

    assert among == ("aaa" + alone + rest, has_failed)


def test_a_text_does_not_begin_in_one_line_and_end_in_the_next() -> None:
    broken = TOKEN.replace(b'"a"', b'"x') + TOKEN.replace(b'"a"', b'y","z"')

    assert read(TOKEN + broken) == ("a", True)


def test_the_model_is_that_of_the_last_line_whichever_way_it_was_read() -> None:
    decoder = Decoder()
    finish = TOKEN.replace(b'"finish_reason": null', b'"finish_reason": "stop"')
    finish = finish.replace(b', "model": "m"', b"")

    decoder.feed(TOKEN + TOKEN.replace(b'"m"', b'"other"') + TOKEN + finish)

    (end,) = decoder.end()
    assert isinstance(end, Finish)
    assert end.model == "m"


@pytest.mark.parametrize("more", [{"usage": {"prompt_tokens": 7}}, {"x_groq": {"id": "r"}}])
def test_frames_that_say_more_than_a_text_are_each_read_in_full(more: dict[str, Any]) -> None:
    decoder = Decoder()

    text = decoder.feed(line({"content": "a"}, **more) * 3)

    assert (text, decoder.failure) == ("aaa", None)


def test_a_template_is_learned_once() -> None:
    template = FrameTemplate(lambda line: "probe \x7f" if b"probe" in line else None)

    learned = [template.learn(said) for said in (TOKEN, TOKEN.replace(b'"m"', b'"other"'))]

    assert learned == [True, False]
    assert template.before + b"a" + template.behind == TOKEN


def test_a_finish_among_them_is_seen() -> None:
    decoder = Decoder()
    finish = TOKEN.replace(b'"finish_reason": null', b'"finish_reason": "stop"')

    text = decoder.feed(TOKEN * 3 + finish + b"data: [DONE]\n\n")

    assert text == "aaaa"
    assert [type(delta).__name__ for delta in decoder.end()] == ["Finish"]


def test_without_a_finish_it_is_no_completion() -> None:
    decoder = Decoder()
    decoder.feed(TOKEN * 5)

    with pytest.raises(UpstreamGarbled):
        list(decoder.end())
