"""Finds the turn that a message asks again, and the idempotency key of the new turn.

A page chooses the ids of its questions, and Lex takes such an id as the turn's key. A turn that
replaces another one has a key made from that turn's id. So all turns of a question form a chain,
and the last of them is in the history.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from backend.api.doors.ai_sdk.bodies import ChatBody
from backend.api.doors.ai_sdk.ui_message import UiMessage, turn_of
from backend.storage.ports.sessions import StoredTurn

FindTurn = Callable[[str], Awaitable[StoredTurn | None]]
"""Finds the turn of an idempotency key in the chat."""


@dataclass(frozen=True, slots=True)
class Request:
    """`replaces` is the id of the question to remove, with everything after it."""

    key: str
    replaces: str | None = None


async def request_of(body: ChatBody, question: UiMessage, find: FindTurn) -> Request:
    """Tell a new question, one that is asked again, and a repeated request apart.

    A repeated request is an edit that changes nothing, or asks again for an answer that was already
    replaced or still runs.
    """
    if not body.is_again:
        return Request(question.id)
    is_edit = body.trigger == "submit-message"
    named = body.message_id or ""
    begin = named if is_edit or turn_of(named) else question.id
    key, turn = begin, None
    turn_id = turn_of(begin)
    if turn_id is None:
        turn = await find(begin)
        if turn is None:
            return Request(question.id)  # it was never asked, because it was refused
        turn_id = turn.record.id
    while successor := await find(_after(turn_id)):
        key, turn, turn_id = _after(turn_id), successor, successor.record.id
    if turn is not None:
        is_named = not is_edit and begin == named
        is_repeated = turn.query == question.text if is_edit else is_named or turn.is_running
        if is_repeated:
            return Request(key)
    return Request(_after(turn_id), replaces=f"{turn_id}-1")


def _after(turn_id: str) -> str:
    """The key of the turn that replaces this one."""
    return f"{turn_id}-again"
