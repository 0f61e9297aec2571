"""Splitting bytes into lines, with any line end and any split."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.llm.groq.frame_lines import FrameLines

ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
PARTS = st.lists(st.tuples(st.sampled_from([b"data: x", b": c", "é\ufeff".encode(), b"a"]), ENDS))


def lines_of(*data: bytes, max_line_bytes: int = 100) -> list[bytes]:
    lines = FrameLines(max_line_bytes)
    return [line for part in data for line in lines.feed(part) if line]


@given(PARTS, st.data())
def test_any_split_brings_the_same_lines(
    parts: list[tuple[bytes, bytes]], data: st.DataObject
) -> None:
    whole = b"".join([line + end for line, end in parts])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=9)))

    split = [whole[start:end] for start, end in pairwise([0, *cuts, len(whole)])]

    assert lines_of(*split) == [line for line, _ in parts]


@pytest.mark.parametrize("piece", [1, 2, 100])
def test_a_byte_order_mark_counts_at_the_beginning_only(piece: int) -> None:
    whole = "\ufeffdata: a\n\ufeffdata: b\n".encode()

    lines = lines_of(*[whole[start : start + piece] for start in range(0, len(whole), piece)])

    assert lines == [b"data: a", "\ufeffdata: b".encode()]


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_lines_before_an_overlong_one_are_handed_out(piece: int) -> None:
    lines = FrameLines(max_line_bytes=10)
    whole = b"short\n" + b"x" * 11 + b"\nbehind"

    found: list[bytes] = []
    for start in range(0, len(whole), piece):
        found += lines.feed(whole[start : start + piece])
        if lines.is_overlong:
            break

    assert found == [b"short"]
    assert lines.is_overlong


def test_a_line_of_a_megabyte_in_single_bytes_takes_linear_time() -> None:
    """Joining again at each byte would copy half a terabyte, and time out."""
    lines = FrameLines(max_line_bytes=2**21)

    for _ in range(2**20):
        assert not lines.feed(b"x")

    (line,) = lines.feed(b"\n")
    assert len(line) == 2**20
