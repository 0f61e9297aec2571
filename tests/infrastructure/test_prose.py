"""The linter for prose: what it finds, where, and what it leaves alone."""

from collections.abc import Callable
from pathlib import Path

import pytest

from infrastructure.prose.__main__ import faults

Lint = Callable[..., list[str]]


@pytest.fixture
def lint(tmp_path: Path) -> Lint:
    """Lints a text as a file and tells each fault as `line rule`."""

    def linted(text: str, *, name: str = "page.md") -> list[str]:
        (tmp_path / name).write_text(text)
        return [
            f"{place.line} {rule}" for place, _, rule in faults([tmp_path / name], root=tmp_path)
        ]

    return linted


@pytest.mark.parametrize(
    ("translated", "rule", "plain"),
    [
        (
            "What is no proper request is `bad_request`.",
            "lex.subject_clause",
            "A malformed request gets 400 `bad_request`.",
        ),
        (
            "It is slow. Who has asked again is served first.",
            "lex.subject_clause",
            "It is slow. The server answers a client first that asks again.",
        ),
        (
            "Of `X-Forwarded-For` the last address counts that is no trusted proxy's.",
            "lex.fronted_of",
            "The client is the right-most `X-Forwarded-For` address that is not a trusted proxy.",
        ),
        (
            "Lex asks no model that has not half of its rate left.",
            "lex.double_negation",
            "Lex asks only models that have half of their rate left.",
        ),
        (
            "One that fails is tried again.",
            "lex.vague_subject",
            "A summary that fails is tried again.",
        ),
        (
            "Whoever asks must see it `leave`.",
            "lex.vague_word",
            "The caller must call `leave()`.",
        ),
        ("The page is drawn anew.", "lex.wording", "The page is drawn again."),
        (
            f"The worker reads {' '.join(map(str, range(40)))} and leaves.",
            "lex.length",
            "The worker reads forty numbers and leaves.",
        ),
        ("The workers keep it for ever.", "archaism", "The workers keep it forever."),
    ],
)
def test_a_translated_sentence_is_found_and_a_plain_one_is_not(
    lint: Lint, translated: str, rule: str, plain: str
) -> None:
    assert lint(translated) == [f"1 {rule}"]
    assert lint(plain) == []


@pytest.mark.parametrize(
    "sound",
    [
        "What does a turn cost?",
        "What to do: restart the worker.",
        "The log says what failed and who asked.",
        "What a client was waiting for when it left.",
        "One of two workers may be ready first.",
        "Every worker delivers such answers.",  # neither "very" nor "such a"
        "It is `None` of `that`, and `what` it is `who` knows.",
        "```\nWhat is in a block is code.\n```",
        "<!-- What is in a comment is not read. -->",
        "See [this page](https://example.com/whoever-very-anew).",
    ],
)
def test_questions_and_code_are_left_alone(lint: Lint, sound: str) -> None:
    assert lint(sound) == []


def test_a_fault_is_placed_on_its_line(lint: Lint) -> None:
    page = "# Who asks is heard.\n\nFine.\n\n| a | Drawn anew. |\n\n- fine\n- it is\n  anew\n"

    assert lint(page) == ["5 lex.wording", "9 lex.wording"]


def test_docstrings_and_comments_are_read_and_code_is_not(lint: Lint) -> None:
    module = '''"""What is here is read."""

WORDS = "What is here is not read."  # noqa: X - nor is this, drawn anew
NUMBER = 1
"""Read anew."""


def function() -> None:
    """Return.

    Whoever
    reads.
    """
    # A comment of two
    # lines, read anew.
'''

    assert lint(module, name="module.py") == [
        "1 lex.subject_clause",
        "5 lex.wording",
        "11 lex.vague_word",
        "15 lex.wording",
    ]


def test_two_passages_are_not_read_as_one(lint: Lint) -> None:
    assert lint("It waits for\n\nfor the worker\n\n| in | vain |\n") == []
