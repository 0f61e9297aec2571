"""Sessions and what was said in them."""

import uuid
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from starlette.requests import HTTPConnection

from backend.api.audit import happened
from backend.api.dependencies import CallerDep, SessionsDep, StateDep, TurnsDep
from backend.api.last_event_id import LastEventId
from backend.api.openapi.problems import responses
from backend.api.query import READ_TO_ITS_END, STREAM_REFUSALS, STREAMED, AskingDep
from backend.api.schemas import (
    MessageBody,
    MessagesPage,
    MessageView,
    SessionCreated,
    SessionEvents,
    SessionId,
    SessionView,
)
from backend.api.strict_json import StrictRoute
from backend.domain.errors import InvalidField, SessionNotFound, TooManyRequests

router = APIRouter(prefix="/sessions", tags=["sessions"], route_class=StrictRoute)

SessionIdPath = Annotated[SessionId, Path()]


@router.post("", status_code=201, responses=responses(TooManyRequests))
async def create(
    caller: CallerDep,
    sessions: SessionsDep,
    state: StateDep,
    connection: HTTPConnection,
    response: Response,
) -> SessionCreated:
    response.headers.update(await state.admissions.make_session(caller, connection))
    session = await sessions.create(caller.owner, uuid.uuid4().hex)
    response.headers["Location"] = f"/sessions/{session.id}"
    return SessionCreated(session_id=session.id, created_at=session.created_at)


@router.get("/{session_id}", responses=responses(SessionNotFound))
async def show(session_id: SessionIdPath, caller: CallerDep, sessions: SessionsDep) -> SessionView:
    return SessionView.of(await sessions.get(caller.owner, session_id))


@router.delete("/{session_id}", status_code=204, responses=responses(SessionNotFound))
async def forget(
    session_id: SessionIdPath,
    caller: CallerDep,
    sessions: SessionsDep,
    turns: TurnsDep,
    state: StateDep,
) -> None:
    """Stop a running turn and forget the session. Bookings stay with their user."""
    await turns.stop_session(caller.owner, session_id)
    if shared_logs := state.shared_logs:
        shared_logs.forget([turn.id for turn in await sessions.turns(caller.owner, session_id)])
    await sessions.delete(caller.owner, session_id)


@router.post(
    "/{session_id}/messages",
    response_model=None,
    responses=STREAMED | READ_TO_ITS_END | responses(SessionNotFound, *STREAM_REFUSALS),
)
async def say(
    session_id: SessionIdPath,
    body: MessageBody,
    asking: AskingDep,
    last_event_id: LastEventId = None,
) -> Response:
    """The same stream as `POST /query`; the session must exist."""
    if last_event_id is not None:
        return await asking.read_on(last_event_id, session_id=session_id)
    return await asking.ask(
        field="content",
        query=body.content,
        session_id=session_id,
        creates=False,
        resume=body.resume,
    )


@router.get(
    "/{session_id}/messages",
    response_model_exclude_none=True,
    responses=responses(SessionNotFound),
)
async def messages(
    session_id: SessionIdPath,
    caller: CallerDep,
    sessions: SessionsDep,
    limit: Annotated[int | None, Query(ge=1, le=1000)] = None,
    cursor: Annotated[
        str | None,
        Query(
            description="`next_cursor` of the page before",
            json_schema_extra={"pattern": "^[0-9]{1,9}$"},
        ),
    ] = None,
) -> MessagesPage:
    """The whole history in order; in pages when `limit` is given."""
    after = _position(cursor)
    # One more than asked for tells whether there is a next page.
    more = None if limit is None else limit + 1
    found = await sessions.messages(caller.owner, session_id, after=after, limit=more)
    page = found[:limit]
    is_last = len(page) == len(found)
    return MessagesPage(
        messages=[MessageView.of(stored) for stored in page],
        next_cursor=None if is_last else str(page[-1].position),
    )


def _position(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) <= 9):
        raise InvalidField("is not a cursor of this history", field="cursor")
    return int(cursor)


@router.get("/{session_id}/events", responses=responses(SessionNotFound))
async def events(
    session_id: SessionIdPath, caller: CallerDep, sessions: SessionsDep
) -> SessionEvents:
    """What happened, for audit: a projection of the messages and of how turns ended."""
    turns = await sessions.turns(caller.owner, session_id)
    stored = await sessions.messages(caller.owner, session_id)
    return SessionEvents(events=list(happened(stored, turns)))
