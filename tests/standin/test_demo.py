"""The demo mind: a few phrases, five tools, and no doubt about what it is."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructure.groq_standin.asked import Asked
from infrastructure.groq_standin.demo import think, words
from infrastructure.groq_standin.script import Round

SYSTEM = """You are Lex. The dealerships:
- `manhattan`: SuperCar Manhattan, New York; today is Saturday 2026-11-21
- `tokyo`: SuperCar Tokyo, Tokyo; today is Sunday 2026-11-22
"""
TOOLS = (
    "get_weather",
    "get_dealership_address",
    "check_appointment_availability",
    "schedule_appointment",
    "fetch_user_profile",
)

Message = dict[str, Any]


def asked(
    *messages: Message | str, model: str = "groq-standin", tools: Sequence[str] = TOOLS, **more: Any
) -> Asked:
    conversation: list[Message] = [{"role": "system", "content": SYSTEM}]
    conversation += [
        {"role": "user", "content": one} if isinstance(one, str) else one for one in messages
    ]
    offered = [{"type": "function", "function": {"name": name}} for name in tools]
    return msgspec.convert(
        {"model": model, "messages": conversation, "tools": offered, **more}, Asked
    )


def made(answer: Round) -> list[tuple[str, Any]]:
    return [(call.name, call.arguments) for call in answer.calls]


def call(name: str, arguments: dict[str, Any], *, output: Any, call_id: str = "c") -> list[Message]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    calls = [{"id": call_id, "type": "function", "function": function}]
    return [
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": call_id, "content": json.dumps(output)},
    ]


def says(text: str) -> Message:
    return {"role": "assistant", "content": text}


def weather(*cities: str) -> list[tuple[str, Any]]:
    return [("get_weather", {"city": city}) for city in cities]


def slots(dealership_id: str, date: str) -> list[tuple[str, Any]]:
    arguments = {"dealership_id": dealership_id, "date": date}
    return [("check_appointment_availability", arguments)]


def address(dealership_id: str) -> list[tuple[str, Any]]:
    return [("get_dealership_address", {"dealership_id": dealership_id})]


BOOKING = {
    "user_id": "123",
    "dealership_id": "manhattan",
    "date": "2026-11-22",
    "time": "10:00",
    "car_model": "Apex GT",
}

INTENTS: list[tuple[str, list[tuple[str, Any]]]] = [
    ("What is the weather in New York?", weather("New York")),
    ("weather in Paris and in Tokyo", weather("Paris", "Tokyo")),
    ("What's the weather like in paris, rome and Oslo today?", weather("Paris", "Rome", "Oslo")),
    ("How warm is it in São Paulo right now?", weather("São Paulo")),
    ("Will it rain in St. Moritz tomorrow?", weather("St. Moritz")),
    ("Where is the Munich dealership?", address("munich")),
    ("What is the phone number in Beverly Hills?", address("beverly-hills")),
    ("Which slots are free in Manhattan tomorrow?", slots("manhattan", "2026-11-22")),
    ("Any openings in Tokyo tomorrow?", slots("tokyo", "2026-11-23")),
    ("Are you free in London on 2026-12-01?", slots("london", "2026-12-01")),
    ("Is a test drive available in Chicago next monday?", slots("chicago", "2026-11-23")),
    ("Availability in nyc on Saturday?", slots("manhattan", "2026-11-28")),
    (
        "Book the Apex GT in Manhattan tomorrow at 10 for user 123",
        [("schedule_appointment", BOOKING)],
    ),
    (
        "Please schedule a test drive of the volt e, Sydney, 2026-12-01 at 2:30pm, user 7",
        [("schedule_appointment", {
            "user_id": "7", "dealership_id": "sydney", "date": "2026-12-01", "time": "14:30",
            "car_model": "Volt E",
        })],
    ),
    ("Show me the profile of user 123", [("fetch_user_profile", {"user_id": "123"})]),
    ("What do you know about customer 42?", [("fetch_user_profile", {"user_id": "42"})]),
    (
        "What's the weather in Paris and the address of the Munich dealership?",
        [*weather("Paris"), *address("munich")],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("query", "calls"), INTENTS, ids=[query for query, _ in INTENTS])
def test_an_intent_becomes_its_calls(query: str, calls: list[tuple[str, Any]]) -> None:
    answer = think(asked(query))

    assert made(answer) == calls
    assert not answer.text


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("Hello!", "welcome to SuperCar"),
        ("Who are you?", "no model at all"),
        ("Are you a real person or an AI?", "no model at all"),
        ("Which model are you?", "groq-standin"),
        ("Write me a sonnet", "stand-in"),
        ("Thanks a lot", "welcome"),
        ("What is the weather?", "which city"),
        ("Book a test drive", "your user id"),
        ("Which slots are free?", "which dealership and which day"),
        ("Show my profile", "your user id"),
    ],
)
def test_what_is_no_call_is_a_sentence(query: str, said: str) -> None:
    answer = think(asked(query))

    assert not answer.calls
    assert said in (answer.text or "")


def test_a_booking_over_several_turns() -> None:
    free = call(*slots("manhattan", "2026-11-22")[0], output={"slots": ["10:00", "11:00"]})
    booked = call("schedule_appointment", BOOKING, output={"confirmation_id": "LEX-1"})
    first: list[Message | str] = ["Which slots are free in Manhattan tomorrow?", *free, says("10.")]
    second: list[Message | str] = ["Book the Apex GT at 10 for user 123", *booked, says("Done.")]

    ordered = think(asked(*first, second[0]))
    where = think(asked(*first, *second, "What is the address?"))
    later = think(asked(*first, *second, "and at 11?"))

    assert made(ordered) == [("schedule_appointment", BOOKING)]
    assert made(where) == address("manhattan")
    assert made(later) == [("schedule_appointment", {**BOOKING, "time": "11:00"})]


def test_a_follow_up_goes_on_with_what_was_asked_before() -> None:
    rain = call("get_weather", {"city": "Paris"}, output={"city": "Paris"})
    free = call(*slots("manhattan", "2026-11-22")[0], output={"slots": ["10:00"]})
    availability: list[Message | str] = ["Slots in Manhattan tomorrow?", *free, says("10:00.")]

    elsewhere = think(asked("Weather in Paris?", *rain, says("Fine."), "and in Tokyo?"))
    another_day = think(asked(*availability, "And on 2026-12-01?"))
    another_time = think(asked(*availability, "and at 11?"))
    there = think(asked(*availability, "What is the weather there?"))

    assert made(elsewhere) == weather("Tokyo")
    assert made(another_day) == slots("manhattan", "2026-12-01")
    assert made(another_time) == slots("manhattan", "2026-11-22")
    assert made(there) == weather("Manhattan")


def test_an_answer_to_its_own_question_completes_the_booking() -> None:
    question = think(asked("I would like to book a test drive")).text or ""

    answer = think(
        asked(
            "I would like to book a test drive", says(question),
            "The Apex GT, tomorrow at 10, in Manhattan. I am user 123.",
        )
    )  # fmt: skip

    assert made(answer) == [("schedule_appointment", BOOKING)]


OUTPUTS: list[tuple[str, dict[str, Any], Any, list[str]]] = [
    (
        "get_weather", {"city": "New York"},
        {"temperature": "34°C", "conditions": "Sunny", "city": "New York", "source": "sample"},
        ["In New York it is 34°C and sunny."],
    ),
    (
        "get_dealership_address", {"dealership_id": "munich"},
        {"name": "SuperCar Munich", "address": "Ludwigstr. 1", "phone": "+49 89 1",
         "hours": {"Mon-Fri": "09:00-18:00"}, "map_link": "https://maps.example/m"},
        ["**SuperCar Munich**", "Ludwigstr. 1", "+49 89 1", "Mon-Fri 09:00-18:00",
         "(https://maps.example/m)"],
    ),
    (
        "check_appointment_availability", {"dealership_id": "munich", "date": "2026-12-01"},
        {"slots": ["10:00", "10:30"]}, ["at munich on 2026-12-01", "- 10:00\n- 10:30"],
    ),
    (
        "check_appointment_availability", {"dealership_id": "munich", "date": "2026-12-01"},
        {"slots": []}, ["no free slots at munich on 2026-12-01"],
    ),
    (
        "check_appointment_availability", {"dealership_id": "munich", "date": "2026-12-01"},
        ["09:00"], ["- 09:00"],
    ),
    (
        "schedule_appointment", BOOKING,
        {"confirmation_id": "LEX-1", "date": "2026-11-22", "time": "10:00",
         "car_model": "Apex GT", "dealership": {"name": "SuperCar Manhattan"}},
        ["**LEX-1**", "Apex GT", "2026-11-22", "10:00", "SuperCar Manhattan"],
    ),
    (
        "fetch_user_profile", {"user_id": "123"},
        {"name": "Ada", "preferred_dealership": "tokyo", "past": [], "coming": [{"car": "Volt E"}]},
        ["**Ada**", "Preferred dealership: tokyo", "Past: none", "Coming: Volt E"],
    ),
    (
        "schedule_appointment", BOOKING,
        {"error": {"code": "slot_taken", "message": "10:00 is taken; 10:30 is free."}},
        ["10:00 is taken; 10:30 is free."],
    ),
    ("get_weather", {"city": "Oslo"}, "It is snowing.", ["It is snowing."]),
    ("some_other_tool", {}, {"answer": 42}, ["answer: 42"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "arguments", "output", "said"), OUTPUTS)
def test_outputs_are_put_into_words(
    name: str, arguments: dict[str, Any], output: Any, said: list[str]
) -> None:
    answer = think(asked("So?", *call(name, arguments, output=output)))

    assert not answer.calls
    assert [part for part in said if part not in (answer.text or "")] == []


def test_a_time_that_was_asked_about_is_answered() -> None:
    output = call(*slots("munich", "2026-12-01")[0], output={"slots": ["10:00"]})

    answer = think(asked("Is 11:00 free in Munich on 2026-12-01?", *output))

    assert (answer.text or "").startswith("11:00 is not free.")


@pytest.mark.parametrize(
    "choice", [{"model": "openai/gpt-oss-120b"}, {"parallel_tool_calls": False}]
)
def test_without_parallel_calls_it_makes_one_after_the_other(choice: dict[str, Any]) -> None:
    query = "weather in Paris and in Tokyo"
    paris = call("get_weather", {"city": "Paris"}, output={"city": "Paris"}, call_id="c1")
    tokyo = call("get_weather", {"city": "Tokyo"}, output={"city": "Tokyo"}, call_id="c2")

    first = think(asked(query, **choice))
    second = think(asked(query, *paris, **choice))
    third = think(asked(query, *paris, *tokyo, **choice))

    assert made(first) == weather("Paris")
    assert made(second) == weather("Tokyo")
    assert "In Paris" in (third.text or "")
    assert "In Tokyo" in (third.text or "")
    assert bool(third.reasoning) is ("model" in choice)


def test_it_calls_only_what_it_was_offered() -> None:
    refused = think(asked("weather in Paris", tools=["fetch_user_profile"]))
    forbidden = think(asked("weather in Paris", tool_choice="none"))

    for answer in (refused, forbidden):
        assert not answer.calls
        assert "`get_weather`" in (answer.text or "")


def test_without_a_date_in_the_prompt_it_takes_the_clock_s() -> None:
    plain = msgspec.convert(
        {
            "model": "groq-standin",
            "messages": [{"role": "user", "content": "slots in Tokyo today"}],
            "tools": [{"function": {"name": "check_appointment_availability"}}],
        },
        Asked,
    )

    ((_, arguments),) = made(think(plain))

    assert len(arguments["date"]) == 10


def test_a_query_may_be_in_parts_or_missing() -> None:
    parts = asked({"role": "user", "content": [{"type": "text", "text": "Who are you?"}]})
    none = asked()

    assert think(parts).text == f"{words.WHAT_I_AM} {words.WHAT_I_CAN_DO}"
    assert think(none).text == words.NOT_UNDERSTOOD


WORDS = "and book slots weather in at 25:99 10 noon Manhattan 2026-99-99 user 123 ? . é"


@given(st.lists(st.sampled_from(WORDS.split()), max_size=12).map(" ".join) | st.text(max_size=100))
def test_whatever_is_said_it_has_an_answer(query: str) -> None:
    answer = think(asked("Slots in Manhattan tomorrow?", says("10:00."), query))

    assert answer.calls or answer.text
