"""The `/sessions` routes: create, show and delete sessions, ask in them, and read their history."""

import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from starlette.requests import HTTPConnection

from backend.api.asking import AskingDep
from backend.api.audit import happened
from backend.api.dependencies import CallerDep, SessionsDep, StateDep, TurnsDep
from backend.api.last_event_id import LastEventId
from backend.api.openapi.problems import responses
from backend.api.openapi.streams import READ_TO_ITS_END, STREAM_REFUSALS, STREAMED
from backend.api.schemas import (
    SESSION_ID_PATTERN,
    MessageBody,
    MessagesPage,
    MessageView,
    SessionEvents,
    SessionId,
)
from backend.api.session_schemas import (
    SessionChange,
    SessionCreated,
    SessionsPage,
    SessionSummary,
    SessionView,
)
from backend.api.strict_json import StrictRoute
from backend.domain.conversation import ANONYMOUS, Session
from backend.domain.errors import InvalidField, SessionNotFound, TooManyRequests
from backend.storage.ports.sessions import SessionPlace

router = APIRouter(prefix="/sessions", tags=["sessions"], route_class=StrictRoute)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
SESSIONS_CURSOR = re.compile(f"([0-9]{{1,17}})-({SESSION_ID_PATTERN[1:-1]})")
"""The last use of a session in microseconds since 1970, and its id."""

SessionIdPath = Annotated[SessionId, Path()]


@router.post("", status_code=201, responses=responses(TooManyRequests))
async def create(
    caller: CallerDep,
    sessions: SessionsDep,
    state: StateDep,
    connection: HTTPConnection,
    response: Response,
) -> SessionCreated:
    """Create an empty session with a new id."""
    response.headers.update(await state.admissions.make_session(caller, connection))
    session = await sessions.create(caller.owner, uuid.uuid4().hex)
    response.headers["Location"] = f"/sessions/{session.id}"
    return SessionCreated(session_id=session.id, created_at=session.created_at)


@router.get("", responses=responses())
async def list_sessions(
    caller: CallerDep,
    sessions: SessionsDep,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[
        str | None,
        Query(
            description="The `next_cursor` of the previous page.",
            json_schema_extra={"pattern": f"^{SESSIONS_CURSOR.pattern}$"},
        ),
    ] = None,
) -> SessionsPage:
    """List the caller's sessions, last used first.

    Without authentication the list is empty: all clients would share it.
    """
    after = None if cursor is None else _place(cursor)
    if caller.owner == ANONYMOUS.owner:
        return SessionsPage(sessions=[])
    # One extra session tells whether there is a next page.
    found = await sessions.of_owner(caller.owner, after=after, limit=limit + 1)
    page = found[:limit]
    return SessionsPage(
        sessions=[SessionSummary.of(session) for session in page],
        next_cursor=_cursor(page[-1]) if len(found) > limit else None,
    )


def _cursor(session: Session) -> str:
    return f"{(session.last_used_at - EPOCH) // MICROSECOND}-{session.id}"


def _place(cursor: str) -> SessionPlace:
    if (found := SESSIONS_CURSOR.fullmatch(cursor)) is None:
        raise InvalidField("must be the `next_cursor` of an earlier page", field="cursor")
    return SessionPlace(EPOCH + int(found[1]) * MICROSECOND, found[2])


@router.patch("/{session_id}", responses=responses(SessionNotFound))
async def change(
    session_id: SessionIdPath, body: SessionChange, caller: CallerDep, sessions: SessionsDep
) -> SessionView:
    """Set the title of a session."""
    await sessions.rename(caller.owner, session_id, title=body.title)
    return SessionView.of(await sessions.get(caller.owner, session_id))


@router.get("/{session_id}", responses=responses(SessionNotFound))
async def show(session_id: SessionIdPath, caller: CallerDep, sessions: SessionsDep) -> SessionView:
    """Show a session: its last turn, its token usage, and its summary."""
    return SessionView.of(await sessions.get(caller.owner, session_id))


@router.delete("/{session_id}", status_code=204, responses=responses(SessionNotFound))
async def forget(
    session_id: SessionIdPath,
    caller: CallerDep,
    sessions: SessionsDep,
    turns: TurnsDep,
    state: StateDep,
) -> None:
    """Stop a running turn, and delete the session with its history. Booked test drives remain."""
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
    """Ask in a session that exists. The answer is the same stream as for `POST /query`."""
    if last_event_id is not None:
        return await asking.read_on(last_event_id, session_id=session_id)
    return await asking.ask(
        field="content",
        query=body.content,
        session_id=session_id,
        creates=False,
        resume=body.resume,
        replaces=body.replaces,
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
            description="The `next_cursor` of the previous page.",
            json_schema_extra={"pattern": "^[0-9]{1,9}$"},
        ),
    ] = None,
) -> MessagesPage:
    """Show the messages of a session in order: all of them, or pages of at most `limit`."""
    after = _position(cursor)
    # One extra message tells whether there is a next page.
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
        raise InvalidField("must be the `next_cursor` of an earlier page", field="cursor")
    return int(cursor)


@router.get("/{session_id}/events", responses=responses(SessionNotFound))
async def events(
    session_id: SessionIdPath, caller: CallerDep, sessions: SessionsDep
) -> SessionEvents:
    """List the messages, tool calls and failures of a session in order, for an audit."""
    turns = await sessions.turns(caller.owner, session_id)
    stored = await sessions.messages(caller.owner, session_id)
    return SessionEvents(events=list(happened(stored, turns)))
