"""The title that a question gives to its session."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain.titles import TITLE_CHARACTERS, shortened, title_of

FAMILY = "👨\u200d👩\u200d👧"
WORDS = "What is the weather in New York today, and will it rain in the next three days?"


@pytest.mark.parametrize(
    ("question", "title"),
    [
        ("Hello", "Hello"),
        ("  Hello\r\n\tthere \u2028 you\u3000", "Hello there you"),
        ("Hello\x07\x1bthere\x7f", "Hello there"),
        ("\x7f", None),
        ("\u200b \ufeff\u202e", None),
        ("\u200bHello", "\u200bHello"),
        ("", None),
        (None, None),
        (WORDS, "What is the weather in New York today, and will it rain in…"),
        ("x" * 60, "x" * 60),
        ("x" * 61, "x" * 59 + "…"),
        ("Hi " + "x" * 90, "Hi " + "x" * 56 + "…"),
        ("x" * 59 + " y", "x" * 59 + "…"),
    ],
)
def test_a_question_is_shortened_to_one_line(question: str | None, title: str | None) -> None:
    assert title_of(question) == title


@pytest.mark.parametrize(
    "character",
    [
        "e\u0301\u0323",  # an e with two marks
        FAMILY,
        "👍🏽",
        "🇨🇭",
        "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
        "❤\ufe0f",
        unicodedata.normalize("NFD", "각"),
        "\u1100각",
        "क्षि",
        "กำ",
    ],
)
def test_a_cut_leaves_characters_whole(character: str) -> None:
    for most in range(len(character) + 1, 40):
        kept = shortened(character * 40, most).removesuffix("…")
        assert kept == character * (len(kept) // len(character)), most
        assert kept


@given(st.text())
def test_a_title_is_short_and_printable(question: str) -> None:
    title = title_of(question)

    if title is not None:
        assert 0 < len(title) <= TITLE_CHARACTERS
        assert title == " ".join(title.split())
        assert not any(unicodedata.category(each) == "Cc" for each in title)
