"""Which answers a page may send back, and what becomes of those in a new chat."""

from collections.abc import Sequence
from typing import Any

import pytest

from backend.api.doors.ai_sdk import history
from backend.api.doors.ai_sdk.ui_message import Part, UiMessage, parts_of
from backend.domain.conversation import Message, Role, ToolCall
from backend.domain.errors import InvalidField
from backend.storage.ports.sessions import StoredMessage

TURN = "0123456789abcdef"
CALLS = [ToolCall("call_1", "horn", "{}"), ToolCall("call_2", "horn", "{}")]
ANSWER = [
    Message.assistant("I look. ", CALLS),
    Message.tool(CALLS[1], '{"seconds": 34.0}'),
    Message.tool(CALLS[0], '{"seconds": 2}'),
    Message.assistant("Both are loud."),
]


def stored(*answer: Message, turn_id: str = TURN) -> list[StoredMessage]:
    messages = [Message.user("?"), *answer]
    return [StoredMessage(at, turn_id, message) for at, message in enumerate(messages, start=1)]


WHOLE = stored(*ANSWER)
PARTS = parts_of(WHOLE[1:])


def text(said: str) -> Part:
    return {"type": "text", "text": said}


def is_known(parts: Sequence[Part], known: Sequence[StoredMessage], id_: str = f"{TURN}-2") -> bool:
    answer = UiMessage(id=id_, role="assistant", parts=list(parts))
    try:
        history.check([answer], known)
    except InvalidField:
        return False
    return True


def changed(at: int, **fields: Any) -> list[Part]:
    return [part | fields if place == at else part for place, part in enumerate(PARTS)]


def test_what_was_streamed_is_known() -> None:
    assert is_known(PARTS, WHOLE)
    assert is_known(changed(3, output={"seconds": 34}), WHOLE)  # as JavaScript writes it
    assert is_known([*PARTS, {"type": "data-seen", "data": 1}], WHOLE)


@pytest.mark.parametrize("length", range(len(PARTS)))
def test_the_begin_of_an_answer_is_known(length: int) -> None:
    assert is_known(PARTS[:length], WHOLE)


def test_an_answer_that_was_cut_between_two_outputs_is_known() -> None:
    cut = [PARTS[0], PARTS[1], PARTS[2] | {"state": "input-available", "output": None}, PARTS[3]]

    assert is_known(cut, WHOLE)


@pytest.mark.parametrize(
    "parts",
    [
        changed(1, text="I looked. "),
        changed(3, output={"seconds": 0}),
        changed(3, output=None, state="output-error", errorText="No."),
        changed(2, type="tool-bell"),
        [*PARTS, text(" It is free.")],
        [*PARTS, PARTS[2]],
    ],
)
def test_what_was_not_said_is_refused(parts: list[Part]) -> None:
    assert not is_known(parts, WHOLE)


@pytest.mark.parametrize("id_", ["invented", "fedcba9876543210-2", ""])
def test_an_answer_of_another_chat_is_refused(id_: str) -> None:
    assert not is_known(PARTS, WHOLE, id_)


@pytest.mark.parametrize("kept", [0, 3])
def test_an_answer_that_was_not_stored_whole_may_have_more(kept: int) -> None:
    assert is_known(PARTS, stored(*ANSWER[:kept]))


def test_given_answers_are_known_by_their_text() -> None:
    given = stored(Message.assistant("Welcome!"), turn_id="given-1")

    assert is_known([text("Welcome!")], given, "greeting")
    assert is_known([text("Welcome!")], given, "given-1-2")
    assert not is_known([text("It is free.")], given, "greeting")
    assert not is_known([text("?")], [*given, *WHOLE], f"{TURN}-2")


def test_a_new_chat_gets_the_texts_of_a_page_and_no_outputs() -> None:
    earlier = [
        UiMessage(role="user", parts=[text("One"), text("two")]),
        UiMessage(role="assistant", parts=PARTS),
        UiMessage(role="assistant", parts=PARTS[2:4]),
    ]

    given = history.given(earlier)

    assert [(each.role, each.content) for each in given] == [
        (Role.USER, "One\ntwo"),
        (Role.ASSISTANT, "I look. \nBoth are loud."),
    ]
    assert not any(each.tool_calls for each in given)
