"""The checker of resumed streams accepts correct streams and finds every planted fault."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtests.continuity import Continuity
from loadtests.sse import Frame, StreamFailed


@dataclass(frozen=True)
class Cut:
    """A turn and the events that arrived over each of its connections."""

    events: list[Frame]
    pieces: list[list[Frame]]


@st.composite
def cut_streams(draw: st.DrawFn) -> Cut:
    texts = draw(st.lists(st.text(max_size=3), min_size=2, max_size=20))
    events = [Frame("chunk", text, f"t-{number}") for number, text in enumerate(texts, start=1)]
    events.append(Frame("end", "", f"t-{len(events) + 1}"))
    places = sorted(draw(st.lists(st.integers(0, len(events)), max_size=5)))
    bounds = zip([0, *places], [*places, len(events)], strict=True)
    beat = Frame(comments=("",))
    pieces = [[Frame(id=f"t-{begin}"), beat, *events[begin:end]] for begin, end in bounds]
    return Cut(events, pieces)


def taken(pieces: list[list[Frame]]) -> Continuity:
    read = Continuity()
    for piece in pieces:
        for frame in piece:
            read.take(frame)
    return read


@settings(max_examples=50)
@given(cut_streams())
def test_a_stream_that_is_resumed_where_it_was_cut_is_continuous(cut: Cut) -> None:
    read = taken(cut.pieces)

    read.compare([Frame(id="t-0"), *cut.events])
    assert read.last_id == cut.events[-1].id


@settings(max_examples=50)
@given(cut_streams(), st.data())
def test_an_event_that_is_repeated_is_noticed(cut: Cut, data: st.DataObject) -> None:
    piece = data.draw(st.sampled_from([each for each in cut.pieces if len(each) > 2]))
    place = data.draw(st.integers(2, len(piece) - 1))
    piece.insert(place, piece[place])

    with pytest.raises(StreamFailed, match="an event was repeated"):
        taken(cut.pieces)


@settings(max_examples=50)
@given(cut_streams(), st.data())
def test_an_event_that_is_missing_is_noticed(cut: Cut, data: st.DataObject) -> None:
    piece = data.draw(st.sampled_from([each for each in cut.pieces if len(each) > 2]))
    lost = piece.pop(data.draw(st.integers(2, len(piece) - 1)))

    with pytest.raises(StreamFailed, match=r"an event is missing|the replay is a different stream"):
        taken(cut.pieces).compare(cut.events)
    assert lost in cut.events


@settings(max_examples=50)
@given(cut_streams(), st.data())
def test_a_text_that_changed_on_the_way_is_noticed(cut: Cut, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(cut.events) - 1))
    replay = list(cut.events)
    replay[place] = Frame(replay[place].event, replay[place].data + "x", replay[place].id)

    with pytest.raises(StreamFailed, match="the replay is a different stream"):
        taken(cut.pieces).compare(replay)


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (Frame("chunk", "a"), "an event has no id"),
        (Frame("chunk", "a", "other-2"), "an event belongs to another turn"),
        (Frame(id="t-0"), "an event was repeated"),
        (Frame(id="t-2"), "an event is missing"),
    ],
)
def test_a_frame_that_cannot_come_now_says_why(frame: Frame, why: str) -> None:
    read = taken([[Frame(id="t-0"), Frame("chunk", "a", "t-1")]])

    with pytest.raises(StreamFailed, match=why):
        read.take(frame)


def test_an_error_for_this_reader_alone_stands_nowhere() -> None:
    read = taken([[Frame(id="t-0"), Frame("chunk", "a", "t-1")]])

    read.take(Frame("error", '{"code": "server_draining"}', "t-1"))

    assert read.last_id == "t-1"
