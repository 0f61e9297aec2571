"""`/api/chat`: what `useChat` and `DefaultChatTransport` call."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from backend.api.asking import AskingDep, key_of
from backend.api.dependencies import CallerDep, SessionsDep, TurnsDep
from backend.api.doors.ai_sdk import history
from backend.api.doors.ai_sdk.asked_again import request_of
from backend.api.doors.ai_sdk.bodies import ChatBody
from backend.api.doors.ai_sdk.framing import UiMessageStream
from backend.api.doors.ai_sdk.ui_message import UiMessage, ui_messages
from backend.api.doors.thread_ids import session_id_of
from backend.api.openapi.problems import NOT_ROUTED, responses
from backend.api.openapi.streams import STREAM_REFUSALS
from backend.api.strict_json import StrictRoute
from backend.domain.conversation import Message
from backend.domain.errors import LogGone, SessionNotFound, TooManyRequests, TurnNotFound
from backend.storage.ports.sessions import SessionStore, StoredTurn

router = APIRouter(prefix="/api/chat", tags=["ai_sdk"], route_class=StrictRoute)

ChatId = Annotated[
    str,
    Path(
        description="The id of the chat, without slashes and backslashes.",
        # Paths with encoded ones are refused before they are routed.
        json_schema_extra={"pattern": r"^[^/\\]*$"},
    ),
]

_STREAMED: dict[int | str, dict[str, Any]] = {
    200: {"description": "The answer as UI message stream.", "content": {"text/event-stream": {}}}
}


@router.post("", response_model=None, responses=_STREAMED | responses(*STREAM_REFUSALS))
async def chat(
    body: ChatBody, asking: AskingDep, caller: CallerDep, sessions: SessionsDep
) -> Response:
    """Ask the last message of a chat, which is created by its first question.

    A repeated request joins or replays the answer.
    """
    question = body.question()
    session_id = session_id_of(body.id)

    async def find(key: str) -> StoredTurn | None:
        return await sessions.turn_with_key(caller.owner, session_id, key=key_of(key))

    given: list[Message] = []
    if earlier := body.messages[:-1]:
        try:
            stored = await sessions.messages(caller.owner, session_id)
            history.check(earlier, stored)
        except SessionNotFound:
            given = history.given(earlier)
    request = await request_of(body, question, find)
    if request.key:
        asking.with_key(request.key)
    return await asking.ask(
        field="messages.parts.text",
        query=question.text,
        session_id=session_id,
        creates=True,
        resume=body.resume,
        transport="ai_sdk",
        framing=UiMessageStream,
        replaces=request.replaces,
        given=given,
    )


@router.get(
    "/{chat_id}/stream",
    response_model=None,
    responses=_STREAMED
    | {204: {"description": "The chat has no running answer."}}
    | responses(TurnNotFound, LogGone, TooManyRequests),
)
async def resume(
    chat_id: ChatId, asking: AskingDep, caller: CallerDep, sessions: SessionsDep
) -> Response:
    """Stream the running answer from its start."""
    session_id = session_id_of(chat_id)
    turn_id = await _running(sessions, caller.owner, session_id)
    if turn_id is None:
        return Response(status_code=204)
    return await asking.follow(
        turn_id, session_id=session_id, transport="ai_sdk", framing=UiMessageStream
    )


async def _running(sessions: SessionStore, owner: str, session_id: str) -> str | None:
    try:
        return (await sessions.get(owner, session_id)).running_turn_id
    except SessionNotFound:
        return None


@router.delete("/{chat_id}/stream", status_code=204, responses=NOT_ROUTED | responses())
@router.post("/{chat_id}/stop", status_code=204, responses=NOT_ROUTED | responses())
async def stop(chat_id: ChatId, caller: CallerDep, turns: TurnsDep) -> None:
    """Stop the running answer, if there is one. Its text so far is kept."""
    await turns.stop_session(caller.owner, session_id_of(chat_id))


@router.get(
    "/{chat_id}/messages",
    response_model_exclude_unset=True,
    responses=NOT_ROUTED | responses(),
)
async def messages(chat_id: ChatId, caller: CallerDep, sessions: SessionsDep) -> list[UiMessage]:
    """Return the chat for `useChat({messages})`: empty if it is new, without a running answer."""
    session_id = session_id_of(chat_id)
    try:
        turns = await sessions.turns(caller.owner, session_id)
        return ui_messages(await sessions.messages(caller.owner, session_id), turns)
    except SessionNotFound:
        return []
