"""Which requests replace a turn, which repeat one, and which are new."""

from typing import Any

import pytest

from backend.api.doors.ai_sdk.asked_again import Request, request_of
from backend.api.doors.ai_sdk.bodies import ChatBody
from backend.domain.conversation import Outcome, TurnRecord, now
from backend.storage.ports.sessions import StoredTurn

FIRST, SECOND, THIRD = (f"{number:016x}" for number in (1, 2, 3))
AGAIN = f"{FIRST}-again"


def turn(id_: str, query: str, *, is_running: bool = False) -> StoredTurn:
    outcome = None if is_running else Outcome.COMPLETED
    record = TurnRecord(id=id_, session_id="s1", started_at=now(), outcome=outcome)
    return StoredTurn(record, query=query)


async def asked(text: str, known: dict[str, StoredTurn], id_: str = "m1", **body: Any) -> Request:
    async def find(key: str) -> StoredTurn | None:
        return known.get(key)

    question = {"id": id_, "role": "user", "parts": [{"type": "text", "text": text}]}
    parsed = ChatBody.model_validate({"id": "c1", "messages": [question], **body})
    return await request_of(parsed, parsed.question(), find)


ONCE = {"m1": turn(FIRST, "A")}
TWICE = {**ONCE, AGAIN: turn(SECOND, "B")}
THRICE = {**TWICE, f"{SECOND}-again": turn(THIRD, "C")}

REGENERATE: dict[str, Any] = {"trigger": "regenerate-message"}


async def test_a_question_has_its_id_as_key() -> None:
    assert await asked("A", {}) == await asked("A", ONCE) == Request("m1")


async def test_an_edit_replaces_the_newest_turn_of_its_question() -> None:
    assert await asked("B", ONCE, messageId="m1") == Request(AGAIN, f"{FIRST}-1")
    assert await asked("D", THRICE, messageId="m1") == Request(f"{THIRD}-again", f"{THIRD}-1")


async def test_an_edit_of_a_message_of_ours_needs_no_key_of_the_page() -> None:
    ours = f"{FIRST}-1"

    assert await asked("B", {}, id_=ours, messageId=ours) == Request(AGAIN, f"{FIRST}-1")


@pytest.mark.parametrize(("known", "text", "key"), [(ONCE, "A", "m1"), (TWICE, "B", AGAIN)])
async def test_an_edit_without_a_change_is_a_repeated_request(
    known: dict[str, StoredTurn], text: str, key: str
) -> None:
    assert await asked(text, known, messageId="m1") == Request(key)


async def test_the_newest_turn_is_asked_again() -> None:
    assert await asked("A", ONCE, **REGENERATE) == Request(AGAIN, f"{FIRST}-1")
    assert await asked("B", TWICE, **REGENERATE) == Request(f"{SECOND}-again", f"{SECOND}-1")


async def test_an_answer_that_is_named_is_replaced_once() -> None:
    named = {**REGENERATE, "messageId": f"{FIRST}-2"}

    assert await asked("A", ONCE, **named) == Request(AGAIN, f"{FIRST}-1")
    assert await asked("A", TWICE, **named) == Request(AGAIN)


async def test_a_running_turn_is_joined_instead_of_asked_again() -> None:
    running = {**ONCE, AGAIN: turn(SECOND, "A", is_running=True)}

    assert await asked("A", running, **REGENERATE) == Request(AGAIN)


@pytest.mark.parametrize("body", [REGENERATE, {"messageId": "m1"}])
async def test_a_question_that_was_refused_before_is_new(body: dict[str, Any]) -> None:
    assert await asked("A", {}, **body) == Request("m1")


async def test_given_messages_can_be_edited() -> None:
    edited = await asked("B", {}, id_="given-1-1", messageId="given-1-1")

    assert edited == Request("given-1-again", "given-1-1")
