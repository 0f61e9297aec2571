"""Helpers that make turns and endings for the tests of sessions."""

from collections.abc import Sequence
from itertools import count

from backend.domain.conversation import History, Message, Outcome, ToolCall
from backend.storage.ports.sessions import Claim, Ending, NewTurn, SessionStore
from backend.storage.ports.summaries import IdleSession

OWNER = "anonymous"
EVERYTHING = 1_000_000

_numbers = count(1)


def new_turn(
    query: str = "Hello",
    *,
    id: str | None = None,  # noqa: A002
    owner: str = OWNER,
    session_id: str = "s1",
    worker: str = "w1",
    creates_session: bool = True,
    idempotency_key: str | None = None,
    traceparent: str | None = None,
    replaces: str | None = None,
    given: Sequence[Message] = (),
) -> NewTurn:
    return NewTurn(
        id=id or f"turn-{next(_numbers)}",
        owner=owner,
        session_id=session_id,
        worker=worker,
        query=query,
        creates_session=creates_session,
        idempotency_key=idempotency_key,
        traceparent=traceparent,
        replaces=replaces,
        given=given,
    )


def ending(turn: NewTurn, *messages: Message) -> Ending:
    return Ending(
        owner=turn.owner,
        turn_id=turn.id,
        outcome=Outcome.COMPLETED,
        messages=messages,
        log=b"log",
    )


async def say(sessions: SessionStore, turn: NewTurn, *answers: str) -> Claim:
    """Run a whole turn, and return its claim."""
    claim = await sessions.claim(turn, history_tokens=EVERYTHING)
    assert await sessions.finish(ending(turn, *map(Message.assistant, answers)))
    return claim


def a_tool_round(name: str = "get_weather") -> tuple[Message, Message]:
    call = ToolCall("call_1", name, '{"city": "Zürich"}')
    return Message.assistant("", [call]), Message.tool(call, '{"temperature": "34°C"}')


def said(claim: Claim | IdleSession) -> list[str]:
    return [message.content for message in flat(claim.history)]


def flat(history: History) -> list[Message]:
    return [message for turn in history for message in turn]
