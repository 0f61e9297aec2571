"""A turn as the older page is shown it."""

import json
from datetime import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.events import Chunk, End, Event, Failure, ToolCalled, ToolOutput, ToolUse
from backend.legacy import _PUT, SORRY, OlderPage
from backend.stream import frame
from backend.tools import TOOLS
from tests.older_page import OlderPage as Reader
from tests.unit.tools.fakes import MONDAY, SATURDAY, appointment, desk, diary, use

BROKEN = Failure("upstream_garbled", "The assistant's answer broke off.", retryable=True)


def sent(*events: Event) -> bytes:
    page = OlderPage()
    return b"".join(frame(each) for event in events for each in page.shown(event))


def read(*events: Event) -> Reader:
    return Reader.reading([sent(*events)])


async def shown(tool: str, **arguments: object) -> Any:
    """The name and the output under which the page gets what the tool says."""
    booked = diary(
        appointment(SATURDAY, time(10)),
        appointment(MONDAY, time(9)),
        appointment(MONDAY, time(11), dealership_id="gone", car_model="Vulcan"),
    )
    result = await use(tool, desk(diary=booked), **arguments)
    reader = read(ToolOutput(tool, result.output, "call_1"), Chunk("So."), End())
    (data,) = (data for event, data in reader.dispatched if event == "tool_output")
    return json.loads(data)


async def test_the_weather_is_a_sentence() -> None:
    assert await shown("get_weather", city="NYC") == {
        "name": "get_weather",
        "output": "The weather in New York is 34°C and sunny",
    }


async def test_a_dealership_is_a_sentence_with_its_phone_and_its_hours() -> None:
    assert await shown("get_dealership_address", dealership_id="manhattan") == {
        "name": "get_dealership_address",
        "output": "SuperCar Manhattan is at 1 Example Avenue, New York, NY 10001. "
        "Phone: +1 212 555 0100. Hours: Mon-Fri 09:00-18:00, Sat 10:00-17:00, Sun closed",
    }


async def test_free_slots_are_a_list() -> None:
    arguments = {"dealership_id": "manhattan", "date": str(MONDAY)}

    assert await shown("check_appointment_availability", **arguments) == {
        "name": "check_appointment_availability",
        "output": ["10:00", "11:00", "12:00", "13:00", "14:00", "15:00", "16:00", "17:00"],
    }


async def test_a_booking_has_the_fields_of_the_page() -> None:
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
        "output": {
            "date": "2026-11-23",
            "time": "10:00",
            "model": "Aurora",
            "confirmationId": "SC-4",
            "message": "Your test drive of the Aurora at SuperCar Manhattan is booked "
            "for 2026-11-23 at 10:00.",
        },
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
async def test_what_a_tool_refused_is_a_sentence_under_a_name_of_its_own(
    tool: str, arguments: dict[str, object], sentence: str
) -> None:
    said = await shown(tool, **arguments)

    assert said["name"] == "notice"
    assert sentence in said["output"]


async def test_a_tool_that_the_page_has_never_heard_of_is_text() -> None:
    reader = read(ToolOutput("horn", {"sound": "honk"}, "call_1"), Chunk("So."), End())

    assert reader.shown == [("horn", '{"sound": "honk"}')]


def test_each_tool_is_put_in_words() -> None:
    assert set(_PUT) == {tool.name for tool in TOOLS}


def test_a_turn_has_no_calls_in_it() -> None:
    weather = {"temperature": "18°C", "conditions": "Cloudy", "city": "Paris", "source": "sample"}

    reader = read(
        ToolUse("get_weather"),
        ToolCalled("call_1", "get_weather", {"city": "Paris"}),
        ToolOutput("get_weather", weather, "call_1"),
        Chunk("It is 18°C."),
        End(),
    )

    assert reader.events == ["tool_use", "tool_output", "chunk", "end"]
    assert reader.tools == ["get_weather"]
    assert reader.shown == [("get_weather", "The weather in Paris is 18°C and cloudy")]
    assert reader.text == "It is 18°C."
    assert reader.has_ended


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


def test_a_newline_in_a_chunk_has_a_space_before_it() -> None:
    framed = sent(Chunk("One:\n\n- two\r\n- three\r"), End())

    assert framed == (
        b"event: chunk\ndata: One: \ndata:  \ndata: - two \ndata: - three \ndata: \n\n"
        b"event: end\ndata: \n\n"
    )


texts = st.text(st.sampled_from("ab é🌞 \t\n\r:") | st.characters(codec="utf-8"))


@given(st.lists(texts))
def test_the_page_reads_every_word_in_order(chunks: list[str]) -> None:
    reader = read(*map(Chunk, chunks), End())

    assert reader.text.split() == ("".join(chunks).split() or SORRY.split())


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
