"""A turn in the frames for older pages."""

import json
import re
from datetime import time
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.api.sse.legacy import SORRY, OlderPage
from backend.api.sse.legacy.outputs import FORMATS
from backend.domain.events import (
    Chunk,
    End,
    Event,
    Failure,
    TokenUsage,
    ToolCalled,
    ToolOutput,
    ToolUse,
    TurnOutcome,
    _Event,
)
from backend.tools import TOOLS
from backend.turns.event_log import Batch, EventLog
from tests.older_page import OlderPage as Reader
from tests.older_readers import first_lines, joined_as_sent, trimmed_and_joined
from tests.unit.tools.fakes import MONDAY, SATURDAY, a_context, appointment, diary, use

BROKEN = Failure("upstream_garbled", "The assistant's answer broke off.", retryable=True)


def page_of_a_turn() -> OlderPage:
    return OlderPage(EventLog("t1").follow())


def sent(*events: Event) -> bytes:
    return b"".join(page_of_a_turn().frames(Batch(0, events)))


def read(*events: Event) -> Reader:
    return Reader.reading([sent(*events)])


async def shown(tool: str, **arguments: object) -> Any:
    """Return the name and the output that the page gets for a tool's output."""
    booked = diary(
        appointment(SATURDAY, time(10)),
        appointment(MONDAY, time(9)),
        appointment(MONDAY, time(11), dealership_id="gone", car_model="Vulcan"),
    )
    result = await use(tool, a_context(diary=booked), **arguments)
    reader = read(ToolOutput(tool, result.output, "call_1"), Chunk("So."), End())
    (data,) = (data for event, data in reader.dispatched if event == "tool_output")
    return json.loads(data)


async def test_the_weather_is_a_sentence() -> None:
    assert await shown("get_weather", city="NYC") == {
        "name": "get_weather",
        "output": "The weather in New York is 34°C and sunny",
    }


async def test_an_address_comes_first_and_alone_in_its_sentence() -> None:
    assert await shown("get_dealership_address", dealership_id="manhattan") == {
        "name": "get_dealership_address",
        "output": "1 Example Avenue, New York, NY 10001. SuperCar Manhattan. "
        "Phone: +1 212 555 0100. Hours: Mon-Fri 09:00-18:00, Sat 10:00-17:00, Sun closed",
    }


async def test_free_slots_are_a_literal_in_json() -> None:
    arguments = {"dealership_id": "manhattan", "date": str(MONDAY)}

    assert await shown("check_appointment_availability", **arguments) == {
        "name": "check_appointment_availability",
        "output": "\"```['10:00', '11:00', '12:00', '13:00', '14:00', '15:00', '16:00', "
        "'17:00']```\"",
    }


def test_no_free_slots_are_a_sentence() -> None:
    none = {"dealership_id": "m", "date": "2026-11-23", "time_zone": "UTC", "slots": []}

    reader = read(ToolOutput("check_appointment_availability", none, "1"), Chunk("So."), End())

    ((_, sentence),) = reader.shown
    assert sentence == "There is no free slot on 2026-11-23. Please choose another day."


async def test_a_booking_has_the_fields_of_the_first_backend() -> None:
    said = await shown(
        "schedule_appointment",
        user_id="123",
        dealership_id="manhattan",
        date=str(MONDAY),
        time="10:00",
        car_model="aurora",
    )

    assert said == {
        "name": "schedule_appointment",
        "output": "\"```{'confirmacion_id': 'SC-4', 'fecha': '2026-11-23', 'hora': '10:00', "
        "'modelo': 'Aurora', 'mensaje': 'Your test drive of the Aurora at SuperCar Manhattan "
        "is booked for 2026-11-23 at 10:00.'}```\"",
    }


async def test_a_profile_is_text() -> None:
    assert await shown("fetch_user_profile", user_id="123") == {
        "name": "fetch_user_profile",
        "output": "Sample Customer. Preferred dealership: SuperCar Manhattan. "
        "Coming test drives: Aurora at SuperCar Manhattan on 2026-11-23 at 09:00; "
        "Vulcan at gone on 2026-11-23 at 11:00. "
        "Past test drives: Aurora at SuperCar Manhattan on 2026-11-21 at 10:00",
    }


@pytest.mark.parametrize(
    ("tool", "arguments", "sentence"),
    [
        ("get_weather", {"city": "Atlantis"}, "no weather for 'Atlantis'"),
        ("get_weather", {}, "`city` is missing"),
        ("check_appointment_availability", {"dealership_id": "mars"}, "is missing"),
        ("dance", {}, "There is no tool 'dance'"),
    ],
)
async def test_a_refusal_of_a_tool_is_a_sentence_under_a_name_of_its_own(
    tool: str, arguments: dict[str, object], sentence: str
) -> None:
    said = await shown(tool, **arguments)

    assert said["name"] == "notice"
    assert sentence in said["output"]


async def test_a_tool_that_the_page_has_never_heard_of_is_text() -> None:
    reader = read(ToolOutput("horn", {"sound": "honk"}, "call_1"), Chunk("So."), End())

    assert reader.shown == [("horn", '{"sound": "honk"}')]


def test_each_tool_is_put_in_words() -> None:
    assert set(FORMATS) == {tool.name for tool in TOOLS}


def test_a_turn_has_no_calls_in_it() -> None:
    weather = {"temperature": "18°C", "conditions": "Cloudy", "city": "Paris", "source": "sample"}

    reader = read(
        ToolUse("get_weather"),
        ToolCalled("call_1", "get_weather", {"city": "Paris"}),
        ToolOutput("get_weather", weather, "call_1"),
        Chunk("It is 18°C."),
        TurnOutcome("completed", "stop", "a-model", 2, TokenUsage(110, 12, 122)),
        End(),
    )

    assert reader.events == ["tool_use", "tool_output", "chunk", "chunk", "end"]
    assert reader.tools == ["get_weather"]
    assert reader.shown == [("get_weather", "The weather in Paris is 18°C and cloudy")]
    assert reader.text == "It is 18°C."
    assert reader.has_ended


class Unheard(_Event, frozen=True, tag="unheard"):
    """An event that this version does not know."""

    text: str


def test_an_event_that_no_such_page_knows_is_dropped() -> None:
    page, unheard = page_of_a_turn(), cast(Event, Unheard("of"))

    told = [list(page.shown(event)) for event in (Chunk("one two"), unheard, End())]

    assert told == [[Chunk("one")], [], [Chunk(" two"), End()]]


@pytest.mark.parametrize("before", [(), (Chunk(""),), (Chunk(" \n"),)], ids=repr)
def test_a_failure_without_text_is_a_sentence_an_error_and_an_end(before: tuple[Event]) -> None:
    reader = read(*before, BROKEN, End())

    assert reader.dispatched[-3] == ("chunk", SORRY)
    assert reader.events[-2:] == ["error", "end"]
    assert reader.text.strip() == SORRY


def test_a_failure_behind_text_is_the_same_sentence_below_it() -> None:
    reader = read(Chunk("It is"), BROKEN, End())

    assert reader.text == f"It is  {SORRY}"
    assert reader.dispatched[-3] == ("chunk", SORRY)
    assert reader.events[-2:] == ["error", "end"]


@pytest.mark.parametrize("before", [(), (ToolUse("horn"),), (Chunk("\n"),)], ids=repr)
def test_no_turn_ends_without_something_to_read(before: tuple[Event]) -> None:
    reader = read(*before, End())

    assert reader.text.strip() == SORRY
    assert reader.events.count("end") == 1


def test_a_line_break_is_a_space() -> None:
    framed = sent(Chunk("One:\n\n- two\r\n- three\r"), Chunk("\nfour\u2028five"), End())

    assert framed == (
        b"event: chunk\ndata: One:  - two - three\n\n"
        b"event: chunk\ndata:  four\n\n"
        b"event: chunk\ndata:  five\n\n"
        b"event: end\ndata: \n\n"
    )


@pytest.mark.parametrize(
    ("deltas", "chunks"),
    [
        (["In", " New", " York", " it", " is."], ["In", " New", " York", " it", " is."]),
        (["In N", "ew Yo", "rk"], ["In", " New", " York"]),
        (["su", "per", "cali", " frag"], ["supercali", " frag"]),
        (["one two ", "three"], ["one two", " three"]),
        (["one ", " \t", "two"], ["one", "  \ttwo"]),
        (["one\n", "\n", "two\n"], ["one", "  two", " "]),
        (["", "one", ""], ["one"]),
        (["Hi"], ["Hi"]),
        (["今日は", "晴れです。", "気温は"], ["今日は晴れです。", "気温は"]),
        (["a" * 150, "b" * 150, "c d"], ["a" * 150 + "b" * 150, "c", " d"]),
    ],
)
def test_a_chunk_ends_where_a_word_does(deltas: list[str], chunks: list[str]) -> None:
    reader = read(*map(Chunk, deltas), End())

    assert [data for event, data in reader.dispatched if event == "chunk"] == chunks


def test_a_word_is_held_for_one_delta_and_no_other_event() -> None:
    page = page_of_a_turn()

    told = [
        [each.data for each in page.shown(event)]
        for event in (Chunk("Let me"), Chunk(" look."), ToolUse("horn"), Chunk("Here"), End())
    ]

    assert told == [["Let"], [" me"], [" look.", "horn"], [], ["Here", ""]]


def stream_of(*events: Event) -> str:
    return sent(*events).decode()


texts = st.text(st.sampled_from("ab é🌞 \t\n\r:") | st.characters(codec="utf-8"))


@given(st.lists(texts))
def test_the_page_reads_every_word_in_order(chunks: list[str]) -> None:
    reader = read(*map(Chunk, chunks), End())

    assert reader.text.split() == ("".join(chunks).split() or SORRY.split())


@given(st.lists(texts))
def test_every_page_of_the_family_reads_every_word(chunks: list[str]) -> None:
    words = "".join(chunks).split() or SORRY.split()

    stream = stream_of(*map(Chunk, chunks), End())

    assert joined_as_sent(stream).split() == words
    assert first_lines(stream)[-1] == ("end", "")


@given(st.lists(st.text("ab é.,\n\r"), max_size=20))
def test_no_word_is_cut_for_a_page_that_trims_and_joins(chunks: list[str]) -> None:
    stream = stream_of(*map(Chunk, chunks), BROKEN, End())

    assert trimmed_and_joined(stream).split() == [*"".join(chunks).split(), *SORRY.split()]


@given(st.lists(texts), st.booleans())
def test_an_event_has_one_line_of_data(chunks: list[str], breaks: bool) -> None:
    stream = stream_of(ToolUse("a\nb"), *map(Chunk, chunks), *([BROKEN] if breaks else []), End())

    blocks = stream.split("\n\n")[:-1]

    assert all(re.fullmatch(r"event: .*\ndata: .*", block) for block in blocks)


@given(texts)
def test_nothing_is_changed_but_line_breaks(text: str) -> None:
    pieces = [text[place : place + 3] for place in range(0, len(text), 3)]

    stream = stream_of(*map(Chunk, pieces), End())

    expected = re.sub("\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]", " ", text)
    assert joined_as_sent(stream).removesuffix(SORRY) == expected


@given(st.lists(texts), st.lists(st.integers(min_value=0), max_size=20))
def test_it_makes_no_difference_where_bytes_are_cut(chunks: list[str], cuts: list[int]) -> None:
    stream = sent(ToolUse("horn"), *map(Chunk, chunks), BROKEN, End())
    places = sorted(cut % (len(stream) + 1) for cut in cuts)

    pieces = [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]

    assert Reader.reading(pieces).dispatched == Reader.reading([stream]).dispatched


@given(st.dictionaries(st.text(), st.text(), max_size=3))
def test_no_output_can_forge_an_event(output: dict[str, str]) -> None:
    reader = read(ToolOutput("horn", dict(output), "1"), Chunk("So."), End())

    assert reader.events == ["tool_output", "chunk", "end"]
