"""Compares the history that a client sends with the stored one, which counts.

Messages have no ids in this protocol, so Lex compares their texts. It ignores white space, because
front ends trim it, and accepts the beginning of an answer, because a stopped client has no more.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from backend.api.doors.openai.bodies import Asked, Said
from backend.domain.conversation import Message, Role
from backend.domain.errors import InvalidField
from backend.storage.ports.sessions import StoredMessage


@dataclass(slots=True)
class _Exchange:
    """A question with its answer, both without white space. `source` is a turn, or a field."""

    source: str
    question: str = ""
    answer: str = ""


def replaced(
    asked: Asked, stored: Sequence[StoredMessage], *, sends_all: bool, streams: bool
) -> str | None:
    """Return the id of the question that the new one replaces; None if it replaces none.

    If the sent history ends earlier than the stored one, its question is asked again, or was
    edited. It may begin later than the stored one: clients cut long histories.

    Raises: InvalidField, if the stored history has no such message of the assistant or a tool.
    """
    for said in asked.earlier:
        if said.speaker == "tool" or said.is_call:
            message = "must not be a tool's: Lex runs its tools"
            raise InvalidField(message, field=f"{said.field}.role")
    kept = _exchanges((m.turn_id, m.message.role, m.message.content) for m in stored)
    sent = _exchanges((said.field, said.speaker, said.text) for said in asked.earlier)
    after, unanswered = _place(sent, kept)
    if len(unanswered) == len(sent):
        first = (*unanswered, _bare(asked.question))[0]
        is_again = bool(kept) and kept[0].question == first
        # Without a sent answer, the place in the history is uncertain. A client that sends only
        # its questions may repeat one. And an unstreamed request may be a front end's own, with a
        # prompt that Lex does not recognise. Neither may delete anything.
        if not sends_all or not (is_again or streams):
            return None
    for question in unanswered:
        after = next(
            (n + 1 for n in range(after, len(kept)) if kept[n].question == question), after
        )
    return f"{kept[after].source}-1" if after < len(kept) else None


def _place(sent: Sequence[_Exchange], kept: Sequence[_Exchange]) -> tuple[int, list[str]]:
    """Return after which stored exchange the sent ones end, and the questions without an answer
    that follow.
    """
    after: int | None = None
    unanswered: list[str] = []
    limit = len(kept)
    for exchange in reversed(sent):
        if not exchange.answer:
            if after is None:
                unanswered.insert(0, exchange.question)
            continue
        found = [n for n in range(limit) if kept[n].answer.startswith(exchange.answer)]
        if not found:
            message = "is not in the stored history, which counts: leave it out"
            raise InvalidField(message, field=f"{exchange.source}.content")
        same = [n for n in found if kept[n].question == exchange.question]
        limit = (same or found)[-1]
        after = limit + 1 if after is None else after
    return after or 0, unanswered


def _exchanges(messages: Iterable[tuple[str, str, str]]) -> list[_Exchange]:
    exchanges: list[_Exchange] = []
    for source, speaker, text in messages:
        bare = _bare(text)
        if speaker == Role.USER or not exchanges:
            exchanges.append(_Exchange(source))
        if speaker == Role.USER:
            exchanges[-1].question = bare
        elif speaker == Role.ASSISTANT:
            if not exchanges[-1].answer:
                exchanges[-1].source = source
            exchanges[-1].answer += bare
    return exchanges


def _bare(text: str) -> str:
    return "".join(text.split())


def given(earlier: Sequence[Said]) -> list[Message]:
    """Return the history of a client without a session.

    It is the caller's word, and nothing of it becomes the output of a tool.
    """
    return [
        Message.assistant(said.text)
        if said.speaker == "assistant"
        else Message.user(said.text if said.speaker == "user" else f"(A tool of mine: {said.text})")
        for said in earlier
        if said.text.strip()
    ]
