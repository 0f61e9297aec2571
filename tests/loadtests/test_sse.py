"""The load tests' reader of event streams."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.api.sse.plain import frame as framed
from backend.domain.events import Chunk
from loadtests.sse import Frame, StreamFailed, frames, whole


def read(stream: bytes) -> list[Frame]:
    return list(frames(io.BytesIO(stream).readline))


def test_a_frame_has_its_event_data_id_and_comments() -> None:
    stream = b"id: t-0\nretry: 1000\n\n: \n\nid: t-1\nevent: chunk\ndata: one\ndata:  two\n\n"

    assert read(stream) == [
        Frame(id="t-0"),
        Frame(comments=("",)),
        Frame("chunk", "one\n two", "t-1"),
    ]


def test_only_a_comment_without_an_event_is_a_heartbeat() -> None:
    beats = [frame.is_heartbeat for frame in read(b":\n\n: x\nevent: end\ndata: \n\nid: t-0\n\n")]

    assert beats == [True, False, False]


def test_a_frame_that_breaks_off_is_none() -> None:
    assert read(b"event: chunk\ndata: a\n\nevent: chunk\ndata: b\n") == [Frame("chunk", "a")]


@given(st.text().filter(lambda text: "\r" not in text))
def test_what_the_service_frames_is_what_is_read(text: str) -> None:
    assert read(framed(Chunk(text))) == [Frame("chunk", text)]


CHUNK, OUTCOME, END = (
    Frame("chunk", "a"),
    Frame("outcome", '{"outcome": "completed"}'),
    Frame("end"),
)
STOPPED = Frame("outcome", '{"outcome": "cancelled"}')
ERROR = Frame("error", '{"code": "upstream_garbled", "message": "…"}')


def test_a_stream_with_one_end_is_whole_and_passes_through() -> None:
    stream = [Frame(id="t-0"), CHUNK, Frame(comments=("",)), OUTCOME, END]

    assert list(whole(stream)) == stream


def test_what_is_left_of_a_stream_right_before_its_end_is_whole() -> None:
    rest = [Frame(id="t-3"), Frame(comments=("",)), END]

    assert list(whole(rest)) == rest


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        ([], "the stream has no end"),
        ([CHUNK], "the stream has no end"),
        ([CHUNK, ERROR, END], "error event: upstream_garbled"),
        ([CHUNK, ERROR], "error event: upstream_garbled"),
        ([CHUNK, ERROR, Frame("outcome", '{"outcome": "failed"}'), END], "error event: upstream"),
        ([CHUNK, END, CHUNK], "an event came after the end"),
        ([CHUNK, OUTCOME, END, END], "an event came after the end"),
        ([CHUNK, END, OUTCOME], "an event came after the end"),
        ([CHUNK, END], "the stream has no outcome"),
        ([OUTCOME, CHUNK, END], "the stream has no outcome"),
        ([CHUNK, STOPPED, END], "outcome: cancelled"),
    ],
)
def test_a_stream_without_a_good_end_says_what_is_wrong(stream: list[Frame], why: str) -> None:
    with pytest.raises(StreamFailed, match=why):
        list(whole(stream))
