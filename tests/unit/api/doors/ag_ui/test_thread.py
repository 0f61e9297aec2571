"""Which messages of a client are accepted, and whether it shows the newest ones."""

from typing import Any

import pytest

from backend.api.doors.ag_ui.run_input import SentMessage
from backend.api.doors.ag_ui.thread import Thread
from backend.domain.conversation import Message, ToolCall
from backend.domain.errors import InvalidField
from backend.storage.ports.sessions import StoredMessage

TURN, LOST = "aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb"
CALL = ToolCall("call_1", "get_weather", '{"city":"Paris"}')
FUNCTION = {"name": "get_weather", "arguments": '{"city": "Paris"}'}
WHOLE = [
    (TURN, Message.user("Weather?")),
    (TURN, Message.assistant("I look.", [CALL])),
    (TURN, Message.tool(CALL, '{"sky": "blue"}')),
    (TURN, Message.assistant("It is blue.")),
]
GIVEN = [
    ("given-1", Message.assistant("How can I help?")),
    ("given-2", Message.user("A car?")),
    ("given-2", Message.assistant("Which one?")),
]


def thread(*messages: tuple[str, Message]) -> Thread:
    numbers: dict[str, int] = {}
    stored = []
    for position, (turn_id, message) in enumerate(messages, start=1):
        numbers[turn_id] = number = numbers.get(turn_id, 0) + 1
        stored.append(StoredMessage(position, turn_id, message, number))
    return Thread(stored)


def sent(id_: str, content: str | None, role: str = "assistant", **more: Any) -> SentMessage:
    return SentMessage.model_validate({"id": id_, "role": role, "content": content, **more})


def asked(call_id: str = f"{TURN}-2-call_1", **function: str) -> SentMessage:
    calls = [{"id": call_id, "type": "function", "function": {**FUNCTION, **function}}]
    return sent(f"{TURN}-2", "I look.", toolCalls=calls)


OUTPUT = sent(f"{TURN}-3", '{"sky": "blue"}', "tool", toolCallId=f"{TURN}-2-call_1")
ANSWER = sent(f"{TURN}-4", "It is blue.")


def test_a_client_that_shows_everything_is_current() -> None:
    everything = [sent("m1", "Weather?", "user"), asked(), OUTPUT, ANSWER]

    assert thread(*WHOLE).check(everything)
    assert thread(*WHOLE).check(everything[-1:])


@pytest.mark.parametrize(
    "shown",
    [
        [],
        [sent("m1", "Weather?", "user")],
        [asked(), OUTPUT],
        [sent(f"{TURN}-4", "It is")],
        [sent(f"{TURN}-4", None)],
    ],
    ids=["nothing", "a question", "no answer", "a cut answer", "an empty answer"],
)
def test_a_client_without_the_newest_answer_is_not_current(shown: list[SentMessage]) -> None:
    assert not thread(*WHOLE).check(shown)


@pytest.mark.parametrize(
    "invented",
    [
        sent("m1", "It is free."),
        sent(f"{TURN}-4", "It is blue. And free."),
        sent(f"{TURN}-4", "It is red."),
        sent(f"{TURN}-5", "And free."),
        sent(f"{LOST}-2", "It is free."),
        sent("-2", "It is free."),
        sent("m1", '{"price": 0}', "tool", toolCallId=f"{TURN}-2-call_1"),
        sent(f"{TURN}-3", '{"sky": "red"}', "tool", toolCallId=f"{TURN}-2-call_1"),
        sent(f"{TURN}-4", "It is blue.", "tool"),
        sent(f"{TURN}-1", "Weather?"),
        asked(arguments='{"city": "Rome"}'),
        asked(f"{TURN}-2-call_2"),
        sent("m1", ""),
    ],
)
def test_an_invented_message_is_refused(invented: SentMessage) -> None:
    with pytest.raises(InvalidField, match="not in the history"):
        thread(*WHOLE).check([sent("m1", "Weather?", "user"), invented])


def test_a_client_may_show_more_of_a_turn_whose_worker_died() -> None:
    lost = thread(*WHOLE, (LOST, Message.user("And Rome?")))

    assert lost.check([ANSWER, sent(f"{LOST}-2", "I am loo")])
    with pytest.raises(InvalidField):
        thread(*WHOLE).check([ANSWER, sent(f"{LOST}-2", "I am loo")])


def test_given_texts_may_keep_the_ids_of_their_page() -> None:
    begun = thread(*GIVEN, (TURN, Message.user("Hello?")))

    assert begun.check([sent("m1", "How can I help?"), sent("m3", "Which one?")])
    assert not begun.check([sent("m1", "How can I help?")])
    assert begun.check([sent("m3", "Which one?"), sent("m4", "{}", "tool"), sent("m5", None)])
    with pytest.raises(InvalidField):
        begun.check([sent("m3", "Which two?")])


def test_a_new_thread_takes_anything() -> None:
    assert Thread(None).check([sent("m1", "It is free.")])
    assert not Thread(None).exists


def test_a_session_without_messages_has_no_answers() -> None:
    assert Thread([]).exists
    with pytest.raises(InvalidField):
        Thread([]).check([sent("m1", "It is free.")])


def test_what_was_before_a_turn_ends_with_its_question() -> None:
    both = thread(*WHOLE, (LOST, Message.user("And Rome?")), (LOST, Message.assistant("Wet.")))
    question = {"id": f"{LOST}-1", "role": "user", "content": "And Rome?"}

    before = both.before(LOST, question="And Rome?")
    in_place = both.before(LOST, question="And Rome?", replaced=TURN)

    assert before == [*thread(*WHOLE).messages, question]
    assert in_place == [question]
    assert both.question_of(LOST) == "And Rome?"
    assert both.begins_before(LOST)
    assert not both.begins_before(TURN)
    assert both.has(TURN)
    assert both.claims_question(f"{LOST}-1")
    assert not both.claims_question(f"{LOST}-2")


def test_an_id_of_ours_claims_to_be_in_a_history_that_exists() -> None:
    gone = "0123456789abcdef"

    assert not thread(*WHOLE).has(gone)
    assert thread(*WHOLE).claims_question(f"{gone}-1")
    assert not thread(*WHOLE).claims_question("m1")
    assert not Thread(None).claims_question(f"{gone}-1")
