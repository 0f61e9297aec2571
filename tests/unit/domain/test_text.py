import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain.text import shortened

LIMIT = 20


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("Which cars?", "Which cars?"),
        ("  Which\n\n cars? ", "Which cars?"),
        ("Which cars do you have in Manhattan?", "Which cars do you…"),
        ("x" * 20, "x" * 20),
        ("x" * 21, "x" * 19 + "…"),
        ("A " + "x" * 30, "A " + "x" * 17 + "…"),
        ("x" * 18 + "e\u0301" + "xx", "x" * 18 + "…"),
        ("x" * 17 + "👩\u200d🔧" + "xx", "x" * 17 + "…"),
        ("x" * 18 + "👍🏽" + "xx", "x" * 18 + "…"),
        ("x" * 18 + "🇫🇷" + "xx", "x" * 18 + "…"),
        ("東京" * 15, "東京" * 9 + "東…"),
    ],
)
def test_a_text_is_cut_where_people_would_cut_it(text: str, short: str) -> None:
    assert shortened(text, LIMIT) == short


@given(st.text())
def test_no_text_is_too_long(text: str) -> None:
    short = shortened(text, LIMIT)

    assert len(short) <= LIMIT
    assert "\n" not in short
