"""The demo mode: a few phrases, five tools, and the clear statement that it is no model."""

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
from infrastructure.groq_standin.scriptbook import ScriptBook

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


def dialogue(*queries: str) -> Round:
    """The answer to the last query, after the earlier ones, whose tools returned empty outputs."""
    messages: list[Message | str] = []
    for query in queries[:-1]:
        messages.append(query)
        for each in think(asked(*messages)).calls:
            assert isinstance(each.arguments, dict)
            messages += call(each.name, each.arguments, output={}, call_id=f"c{len(messages)}")
        messages.append(says(think(asked(*messages)).text or ""))
    return think(asked(*messages, queries[-1]))


def weather(*cities: str) -> list[tuple[str, Any]]:
    return [("get_weather", {"city": city}) for city in cities]


def slots(dealership_id: str, date: str) -> list[tuple[str, Any]]:
    arguments = {"dealership_id": dealership_id, "date": date}
    return [("check_appointment_availability", arguments)]


def address(dealership_id: str) -> list[tuple[str, Any]]:
    return [("get_dealership_address", {"dealership_id": dealership_id})]


def profile(user_id: str) -> list[tuple[str, Any]]:
    return [("fetch_user_profile", {"user_id": user_id})]


BOOKING = {
    "user_id": "123",
    "dealership_id": "manhattan",
    "date": "2026-11-22",
    "time": "10:00",
    "car_model": "Apex GT",
}


def booking(**changed: str) -> list[tuple[str, Any]]:
    return [("schedule_appointment", {**BOOKING, **changed})]


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
    ("Who am I? My user id is 123", profile("123")),
    ("Show the profile of user alice", profile("alice")),
    ("What test drives does user 123 have?", profile("123")),
    ("Do I need an umbrella in London?", weather("London")),
    ("Slots in Manhattan on 24 November?", slots("manhattan", "2026-11-24")),
    ("Slots in Manhattan on Dec 1?", slots("manhattan", "2026-12-01")),
    ("Slots in Manhattan on December 1st, 2027?", slots("manhattan", "2027-12-01")),
    ("Slots in Manhattan on the 5th of January?", slots("manhattan", "2027-01-05")),
    ("Slots in Manhattan on 20 November?", slots("manhattan", "2026-11-20")),
    ("Slots in Manhattan on the 3rd?", slots("manhattan", "2026-12-03")),
    ("Which slots were free in Tokyo yesterday?", slots("tokyo", "2026-11-21")),
    ("Book the Apex in Manhattan tomorrow at ten for user 123", booking()),
    ("I'd like to drive the Apex GT in Manhattan tomorrow at noon, my user id is 123",
     booking(time="12:00")),
    ("Book the 10:00 slot for the Apex GT, Manhattan, tomorrow, user 123", booking()),
    ("Book the Apex GT, not the Volt E, in Manhattan tomorrow at 10 for user 123", booking()),
    ("Book the Apex GT in Downtown Manhattan tomorrow at 10 for John Smith, user 123", booking()),
    ("Do not book the Volt E, book the Apex GT in Manhattan tomorrow at 10 for user 123",
     booking()),
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
        ("Show me the user profile of my 2 friends", "your user id"),
        ("What can you do?", "no model at all"),
        ("Which dealerships do you have?", "stand-in"),
        ("Which dealerships do you have?", "Manhattan, Beverly Hills, Chicago"),
        ("Where are your dealerships?", "Manhattan, Beverly Hills, Chicago"),
        ("Which cars do you have?", "stand-in"),
        ("Which cars do you have?", "Volt E and Corsa R"),
        ("Cancel my booking SC-ABCD2345", "cannot be cancelled"),
        ("Can I move my appointment to 11?", "call the dealership"),
        ("Please do NOT book the Apex GT in Manhattan tomorrow at 10 for user 123", "book nothing"),
        ("Don\N{RIGHT SINGLE QUOTATION MARK}t book anything", "book nothing"),
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


BEFORE = "Book the Apex GT in Manhattan tomorrow at 10 for user 123"


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("Book the Batmobile in Manhattan tomorrow at 10 for user 123", "Batmobile"),
        ("Book a Ferrari at 10", "Ferrari"),
        ("book ferrari in manhattan at 10", "ferrari"),
        ("I want to test drive the Lamborghini Miura", "Lamborghini Miura"),
        ("Book a test drive of the batmobile", "batmobile"),
        ("I would like a test drive at 10, Batmobile please", "Batmobile"),
        ("I liked the Apex GT, now book the Batmobile", "Batmobile"),
        ("and the Ferrari?", "Ferrari"),
    ],
)
def test_an_unknown_car_goes_to_the_tool(query: str, name: str) -> None:
    assert made(dialogue(BEFORE, query)) == booking(car_model=name)


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("phone number of the Narnia dealership", "Narnia"),
        ("phone number of the narnia dealership", "narnia"),
        ("What is the address in Narnia?", "Narnia"),
        ("What are the hours of Atlantis?", "Atlantis"),
        ("Where is Gotham?", "Gotham"),
        ("and in Narnia?", "Narnia"),
        ("What's the weather in Paris and the address of the Narnia dealership?", "Narnia"),
        ("Where is the nearest dealership?", "chicago"),
    ],
)
def test_an_unknown_dealership_goes_to_the_tool(query: str, name: str) -> None:
    assert made(dialogue("What is the address in Chicago?", query))[-1:] == address(name)


def test_a_booking_at_an_unknown_dealership_goes_to_the_tool() -> None:
    answers = [
        dialogue(BEFORE, f"Book the Apex GT {where} tomorrow at 10 for user 123")
        for where in ("in Narnia", "at Narnia", "at the Narnia dealership", "Narnia")
    ]

    assert [made(answer) for answer in answers] == [booking(dealership_id="Narnia")] * 4


def test_the_dialogue_of_the_readme() -> None:
    queries = (
        "Which slots are free in Manhattan tomorrow?",
        "Book the Apex GT at 10 for user 123",
        "What is the address?",
        "and at 11?",
    )

    answers = [dialogue(*queries[: n + 1]) for n in range(len(queries))]

    assert [made(answer) for answer in answers] == [
        slots("manhattan", "2026-11-22"), booking(), address("manhattan"), booking(time="11:00"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("query", "answer", "calls"),
    [
        ("Who am I?", "123", profile("123")),
        ("What is the weather?", "Paris", weather("Paris")),
        ("What is the address?", "Tokyo", address("tokyo")),
        ("What is the address?", "Paris", address("Paris")),
        ("Slots in Manhattan?", "tomorrow", slots("manhattan", "2026-11-22")),
        ("Book the Apex GT in Manhattan tomorrow, user 123", "at 10", booking()),
        ("Book the Apex GT in Manhattan tomorrow, user 123", "10:00", booking()),
        ("Book the Apex GT in Manhattan tomorrow, user 123", "10", booking()),
        ("Book in Manhattan tomorrow at 10, user 123", "the Volt E", booking(car_model="Volt E")),
        ("Book in Manhattan tomorrow at 10, user 123", "Batmobile", booking(car_model="Batmobile")),
        ("Book a test drive", "123, Manhattan, tomorrow, 10:00, Apex GT", booking()),
    ],
)
def test_a_bare_answer_is_enough(query: str, answer: str, calls: list[tuple[str, Any]]) -> None:
    assert made(dialogue(query, answer)) == calls


def test_a_question_stays_open_while_slots_are_looked_up() -> None:
    query = "Book a test drive of the Apex GT in Manhattan tomorrow for user 123"

    assert made(dialogue(query, "Which slots are free?", "10:00")) == booking()


@pytest.mark.parametrize(
    "query",
    [
        "Please do NOT book the Volt E at 11:00",
        "Don't book it again",
        "How fast is the Volt E?",
        "And who are you?",
        "Which slots are there? I would like to book another one next week",
        "Book the Volt E next week",
        "Cancel the test drive at 10",
        "Which cars can I book?",
    ],
)
def test_what_orders_nothing_books_nothing(query: str) -> None:
    answer = dialogue(BEFORE, query)

    assert not answer.calls
    assert answer.text


def test_a_question_instead_of_an_answer_books_nothing() -> None:
    query = "Book a test drive in Manhattan tomorrow at 10 for user 123"

    assert not dialogue(query, "Is the Volt E electric?").calls


def test_after_a_no_nothing_goes_on() -> None:
    assert not dialogue(BEFORE, "Please do not book anything", "at 11").calls


def test_what_is_missing_is_asked_for_once_and_beside_what_is_known() -> None:
    rain = call("get_weather", {"city": "Paris"}, output="It is raining.")

    answer = think(asked("Weather in Paris, and book a test drive", *rain))

    assert (answer.text or "").startswith("It is raining.\n\nGladly! Please tell me your user id")


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


TRANSCRIPT = "Customer: Is it hot in Paris?\nLex: It is.\nCustomer: Book a drive [[script {}]]"


def wants_summary() -> Asked:
    messages = [
        {"role": "system", "content": "You write the summary of a conversation."},
        {"role": "user", "content": TRANSCRIPT},
    ]
    return msgspec.convert({"model": "groq-standin", "messages": messages}, Asked)


def test_a_transcript_is_summarized_and_not_answered() -> None:
    answer = think(wants_summary())

    assert made(answer) == []
    assert answer.text
    assert "Is it hot in Paris? Book a drive" in answer.text
    assert "no model" in answer.text


def test_a_script_in_a_transcript_is_not_played() -> None:
    assert ScriptBook().find(wants_summary()) is None
