"""Encoding and decoding events, also those of another version."""

import msgspec
import pytest

from backend.domain.events import (
    Chunk,
    End,
    Logged,
    ToolCalled,
    ToolOutput,
    ToolUse,
    Unknown,
    decode,
    encode,
)
from tests import later_version


def test_what_is_encoded_is_decoded() -> None:
    events: list[Logged] = [
        ToolCalled("call_1", "echo", {"word": "x"}),
        Chunk("Hi", round=2),
        End(),
    ]

    assert decode(encode(events)) == events


def test_the_first_round_takes_no_bytes_and_logs_without_rounds_have_only_that_one() -> None:
    assert encode([Chunk("Hi")]) == b'[{"event":"chunk","text":"Hi"}]'
    assert encode([Chunk("Hi", round=2)]) == b'[{"event":"chunk","text":"Hi","round":2}]'
    assert decode(b'[{"event":"tool_use","name":"echo"}]') == [ToolUse("echo", round=1)]


def test_a_version_that_knows_no_rounds_reads_the_events_of_this_one() -> None:
    class Older(msgspec.Struct, frozen=True, tag_field="event", tag="tool_output"):
        name: str
        output: dict[str, object]
        id: str

    log = encode([ToolOutput("echo", {"word": "x"}, "call_1", round=3)])

    assert msgspec.json.decode(log, type=list[Older]) == [Older("echo", {"word": "x"}, "call_1")]


def test_an_event_of_a_later_version_keeps_its_place_and_all_that_is_in_it() -> None:
    events = decode(later_version.encoded())

    assert [isinstance(event, Unknown) for event in events] == [False, True, False, False]
    assert encode(events) == later_version.encoded()


def test_a_known_event_may_have_more_in_it_than_this_version_knows() -> None:
    assert decode(b'[{"event": "chunk", "text": "Hi", "language": "en"}]') == [Chunk("Hi")]


@pytest.mark.parametrize(
    "log",
    [
        b"",
        b"[",
        b"{}",
        b"[1]",
        b"[{}]",
        b'[{"event": 1}]',
        b'[{"event": "chunk"}]',
        b'[{"event": "new"}, {"event": "chunk", "text": null}]',
    ],
)
def test_anything_else_cannot_be_read(log: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode(log)
