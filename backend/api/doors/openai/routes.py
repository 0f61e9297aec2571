"""The `/v1` routes: ask by chat completions, and list the one model."""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Annotated, Literal, TypedDict

from fastapi import APIRouter, Header, Request, Response
from pydantic import BaseModel

from backend.api.asking import AskingDep, IdempotencyKey, Started
from backend.api.dependencies import CallerDep, SessionsDep, StateDep
from backend.api.doors.openai.bodies import ChatBody, asked, check_fields
from backend.api.doors.openai.errors import ASKING, limit_headers, responses
from backend.api.doors.openai.framing import (
    MODEL,
    Answer,
    ChatChunks,
    completion,
    encode,
    failed_body,
)
from backend.api.doors.openai.own_requests import shortened
from backend.api.doors.openai.sent_history import given, replaced
from backend.api.doors.openai.sessions import SESSION_HEADER, belonging
from backend.api.refusals import turn_failed
from backend.api.strict_json import StrictRoute
from backend.api.whole_answer import read_to_the_end
from backend.domain.conversation import Message
from backend.domain.errors import ModelNotFound, SessionNotFound
from backend.domain.events import Transport

PREFIX = "/v1"
router = APIRouter(prefix=PREFIX, tags=["openai"], route_class=StrictRoute)


class _Question(TypedDict):
    """The arguments of `Asking`, for an answer of either form."""

    field: str
    query: str
    session_id: str
    creates: bool
    resume: bool
    transport: Transport
    replaces: str | None
    given: Sequence[Message]
    is_stored: bool


class ModelObject(BaseModel):
    id: Literal["lex"] = MODEL
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: Literal["supercar"] = "supercar"


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelObject]


@router.get("/models", responses=responses())
async def list_models(_caller: CallerDep) -> ModelList:
    """List the models: only `lex`."""
    return ModelList(data=[ModelObject()])


@router.get("/models/{model}", responses=responses(ModelNotFound))
async def show_model(model: str, _caller: CallerDep) -> ModelObject:
    """Show a model. Raises: ModelNotFound."""
    _check_model(model)
    return ModelObject()


def _check_model(name: str) -> None:
    if name != MODEL:
        raise ModelNotFound(f"There is no model {name!r}. The only model is {MODEL!r}.")


@router.post(
    "/chat/completions",
    response_model=None,
    responses=responses(*ASKING)
    | {
        200: {
            "description": "With `stream`, chunks as events; otherwise one object "
            "`chat.completion`.",
            "content": {ChatChunks.media_type: {}, "application/json": {}},
            "headers": {"X-Session-Id": {"schema": {"type": "string"}}},
        }
    },
)
async def complete(
    body: ChatBody,
    request: Request,
    state: StateDep,
    caller: CallerDep,
    sessions: SessionsDep,
    asking: AskingDep,
    _session: Annotated[
        str | None,
        Header(alias=SESSION_HEADER, description="The session, which is created on first use."),
    ] = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Ask Lex through OpenAI's chat completions."""
    _check_model(body.model)
    check_fields(body)
    conversation = asked(body.messages)
    session = belonging(request.headers, state.config.openai_session_headers, idempotency_key)
    query, replaces, earlier = conversation.question, None, conversation.earlier
    if conversation.is_own:
        query = shortened(query, state.config.max_query_chars)
    elif not session.is_new and (session.sends_all or earlier):
        with suppress(SessionNotFound):
            stored = await sessions.messages(caller.owner, session.session_id)
            replaces = replaced(
                conversation, stored, sends_all=session.sends_all, streams=bool(body.stream)
            )
            earlier = ()
    question: _Question = {
        "field": "messages",
        "query": query,
        "session_id": session.session_id,
        "creates": True,
        "resume": False,
        "transport": "openai",
        "replaces": replaces,
        "given": given(earlier),
        "is_stored": not conversation.is_own,
    }
    if not body.stream:
        return await _whole(await asking.start(**question), request)
    framing = partial(ChatChunks, includes_usage=body.includes_usage)
    stream = await asking.ask(**question, framing=framing)
    stream.headers.update(limit_headers(stream.headers))
    return stream


async def _whole(started: Started, request: Request) -> Response:
    """Answer when the turn has ended.

    A failed turn gets the status of an error. Its question is in the history, so clients must not
    repeat the request by themselves.
    """
    headers = {**started.headers, **limit_headers(started.headers)}
    answer = Answer()
    answer.take(await read_to_the_end(started.follower, request.receive, transport="openai"))
    if (failure := answer.failure) is None:
        content = completion(started.follower.turn_id, answer)
        return Response(encode(content), headers=headers, media_type="application/json")
    status = 503 if failure.retryable else 500
    turn_failed(failure.code)
    headers["X-Should-Retry"] = "false"
    if failure.retry_after is not None:
        headers["Retry-After"] = str(failure.retry_after)
    body = encode(failed_body(failure, status=status))
    return Response(body, status, headers=headers, media_type="application/json")
