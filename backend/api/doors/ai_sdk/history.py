"""Compares the conversation that a page sends with the stored one.

A page sends everything that it shows with each question. Lex answers from its own history, so it
refuses to go on if the page shows something that Lex never said.
"""

import json
from collections.abc import Iterable, Sequence
from itertools import groupby

from backend.api.doors.ai_sdk.ui_message import Part, UiMessage, parts_of, turn_of
from backend.domain.conversation import Message, Role
from backend.domain.errors import InvalidField
from backend.domain.turn_keys import is_given
from backend.storage.ports.sessions import StoredMessage


def given(earlier: Iterable[UiMessage]) -> list[Message]:
    """The texts of a conversation that is not stored. None of them counts as a tool's output."""
    speak = {"user": Message.user, "assistant": Message.assistant}
    return [speak[message.role](message.text) for message in earlier if message.text.strip()]


def check(earlier: Iterable[UiMessage], stored: Sequence[StoredMessage]) -> None:
    """Raises: InvalidField, if an answer is not from this history.

    A page that stopped reading has the beginning of an answer. It may also have more than is
    stored, if the worker of the answer died, or has not stored it yet.
    """
    answers: dict[str, list[StoredMessage]] = {}
    given_texts: set[str] = set()
    for turn_id, of_turn in groupby(stored, key=lambda message: message.turn_id):
        if is_given(turn_id):
            given_texts.update(each.message.content for each in of_turn)
        else:
            answers[turn_id] = list(of_turn)[1:]
    for message in earlier:
        answer = answers.get(turn_of(message.id) or "")
        is_known = message.text in given_texts if answer is None else _agree(message.parts, answer)
        if message.role == "assistant" and not is_known:
            raise InvalidField(
                f"the answer {message.id!r} is not in this chat's history: load the history, "
                "or send only the question",
                field="messages",
            )


def _agree(shown: Sequence[Part], answer: Sequence[StoredMessage]) -> bool:
    said, known = _said(shown), _said(parts_of(answer))
    is_whole = bool(answer) and answer[-1].message.role is Role.ASSISTANT
    return known.startswith(said) or (not is_whole and said.startswith(known))


def _said(parts: Iterable[Part]) -> str:
    """All text and tool outputs in order, up to a call whose output has not come."""
    said = []
    for part in parts:
        if part.get("type") == "text":
            said.append(str(part.get("text")))
        elif "toolCallId" in part:
            if not str(part.get("state")).startswith("output-"):
                break
            told = [part.get(name) for name in ("type", "toolCallId", "output", "errorText")]
            # JavaScript has one kind of number, and writes 34.0 as 34.
            told = json.loads(json.dumps(told), parse_int=float)
            said.append(json.dumps(told, sort_keys=True))
    return "".join(said)
