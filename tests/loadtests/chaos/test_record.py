"""A client's record of one turn: its events, over any number of connections."""

import pytest

from loadtests.chaos.record import Reading
from loadtests.sse import Frame


def opened(place: str) -> Frame:
    return Frame(id=place)


def chunk(place: str | None) -> Frame:
    return Frame("chunk", "x", place)


def read(*frames: Frame, is_resumable: bool = True) -> Reading:
    reading = Reading("t", "s", is_resumable)
    for frame in frames:
        reading.take(frame)
    return reading


GOOD: dict[str, tuple[Frame, ...]] = {
    "one connection": (opened("t-0"), chunk("t-1"), Frame("end", "", "t-2")),
    "two": (opened("t-0"), chunk("t-1"), opened("t-1"), chunk("t-2"), Frame("end", "", "t-3")),
    "a WebSocket": (chunk("t-1"), Frame("end", "", "t-2")),
    "with heartbeats": (opened("t-0"), Frame(comments=("",)), Frame("end", "", "t-1")),
    "its worker died": (
        opened("t-0"),
        chunk("t-1"),
        opened("t-1"),
        Frame("error", '{"code": "worker_lost"}', "t-lost-1"),
        opened("t-lost-1"),
        Frame("end", "", "t-lost-2"),
    ),
}


@pytest.mark.parametrize("frames", GOOD.values(), ids=GOOD.keys())
def test_events_that_follow_each_other_are_read_to_their_end(frames: tuple[Frame, ...]) -> None:
    reading = read(*frames)

    assert (reading.problems, reading.is_over) == ([], True)


BAD: dict[str, tuple[Frame, ...]] = {
    "an event is missing": (opened("t-0"), chunk("t-1"), chunk("t-3")),
    "an event is repeated": (opened("t-0"), chunk("t-1"), chunk("t-1")),
    "it opens too early": (opened("t-0"), chunk("t-1"), opened("t-0")),
    "it opens too late": (opened("t-0"), chunk("t-1"), opened("t-2")),
    "another turn's event": (opened("t-0"), chunk("u-1")),
    "an event without an id": (opened("t-0"), chunk(None)),
    "an event behind the end": (opened("t-0"), Frame("end", "", "t-1"), chunk("t-2")),
}


@pytest.mark.parametrize("frames", BAD.values(), ids=BAD.keys())
def test_a_frame_that_cannot_come_now_is_a_problem(frames: tuple[Frame, ...]) -> None:
    assert len(read(*frames).problems) == 1


def test_a_closing_notice_of_the_server_is_not_the_end_of_the_turn() -> None:
    leaving = (Frame("error", '{"code": "server_draining"}', "t-1"), Frame("end", "", "t-1"))

    reading = read(opened("t-0"), chunk("t-1"), *leaving, opened("t-1"), Frame("end", "", "t-2"))

    assert [event for event, _ in reading.events] == ["chunk", "end"]
    assert reading.problems == []


def test_a_plain_stream_has_no_ids_and_one_end() -> None:
    reading = read(chunk(None), Frame("end"), is_resumable=False)
    longer = read(chunk(None), Frame("end"), chunk(None), is_resumable=False)

    assert reading.problems == []
    assert len(longer.problems) == 1
