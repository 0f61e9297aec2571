"""Shown and real outputs are compared so that a wrong word in a document is found."""

import pytest

from tests.documents.shapes import Difference, compare

REAL = """event: tool_use
data: get_weather

: \n
event: chunk
data: In

event: chunk
data:  Paris it is
data: \n
event: chunk
data:  18°C.

event: outcome
data: {"outcome": "completed", "usage": {"prompt_tokens": 3213}}

event: end
data: \n
"""
SHOWN = """event: tool_use
data: get_weather

event: chunk
data: In Paris it is
data:  18°C.

event: outcome
data: {"outcome": "completed", "usage": {"prompt_tokens": 1}}

event: end
data:
"""


def test_chunks_and_numbers_of_tokens_may_differ() -> None:
    assert compare(SHOWN, REAL) == {}


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("event: outcome", "event: result"),
        ('"outcome": "completed"', '"outcome": "complete"'),
        ('"prompt_tokens"', '"input_tokens"'),
        ("18°C", "19°C"),
        ("event: end\ndata:\n", ""),
        ("get_weather\n", "get_weather\ndata: get_weather\n"),
    ],
)
def test_anything_else_is_a_difference(right: str, wrong: str) -> None:
    assert right in SHOWN

    with pytest.raises(Difference):
        compare(SHOWN.replace(right, wrong), REAL)


@pytest.mark.parametrize(
    "shown",
    ["event: tool_use\n…", "…\n\nevent: end\ndata:", "event: tool_use\n…\ndata: {…}\n\n…", "…"],
)
def test_what_is_left_out_may_be_anything(shown: str) -> None:
    assert compare(shown, REAL) == {}


def test_an_output_that_is_not_shown_is_none() -> None:
    with pytest.raises(Difference, match=r"\+event: tool_use"):
        compare("", REAL)


TURN, OTHER, REAL_TURN = "cb8888cd4ad2a232", "1304c378741cccb4", "0123456789abcdef"


def test_an_id_stands_for_the_real_one_in_all_places() -> None:
    shown, real = f'{{"id":"{TURN}-3","turn":"{TURN}"}}', f'{{"id":"{REAL_TURN}-9","turn":"%s"}}'

    assert compare(shown, real % REAL_TURN) == {TURN: REAL_TURN}
    with pytest.raises(Difference):
        compare(shown, real % OTHER)


def test_the_difference_names_what_was_expected_and_what_came() -> None:
    with pytest.raises(Difference) as found:
        compare('{"outcome":"ended","rounds":2}', '{"outcome":"completed","rounds":2}')

    removed, added = (f'{{"outcome":"{word}","rounds":2}}' for word in ("ended", "completed"))
    assert f"-{removed}\n+{added}" in str(found.value)
