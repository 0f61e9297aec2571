"""`GET /query`, for a browser's own `EventSource`.

It can only GET, cannot read a status, and comes back by itself whenever a stream ends. So
refusals are streams too, whoever comes back is never asked for anew, and who has read
everything is told to stay away: by a 204, the one answer that ends an `EventSource`.
"""

import uuid
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import ValidationError

from backend.api.dependencies import StateDep
from backend.api.last_event_id import place_of
from backend.api.query import STREAMED, Asking, AskingDep
from backend.errors import InvalidField, ServiceError, StorageError, TooManyRequests
from backend.events import End, failure
from backend.log import EventLog
from backend.models import QueryBody
from backend.stream import EventStream, StreamOptions
from backend.telemetry import metrics

router = APIRouter(tags=["query"])

MAX_URL_BYTES = 8192
REFUSED = "refused"
"""Stands for a turn in the ids of a refusal, so that coming back to it is recognised."""


@router.get(
    "/query",
    response_model=None,
    responses=STREAMED | {204: {"description": "That turn was read to its end"}},
)
async def query(
    request: Request,
    state: StateDep,
    asking: AskingDep,
    query: Annotated[str, Query(description="What the customer says.")] = "",
    session_id: Annotated[str | None, Query()] = None,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """Ask Lex, or read on. Always resumable; refusals are a stream of `error` and `end`."""
    try:
        if last_event_id is not None:
            return await _read_on(asking, last_event_id, state["stream_options"])
        return await _ask(asking, _checked(request, query, session_id))
    except ServiceError as error:
        return _refusal(error, state["stream_options"])


async def _read_on(asking: Asking, last_event_id: str, options: StreamOptions) -> Response:
    if last_event_id.startswith(f"{REFUSED}-"):
        return Response(status_code=204)
    turn_id, after = place_of(last_event_id)
    try:
        if await asking.is_read(turn_id, after=after):
            return Response(status_code=204)
        return await asking.follow(turn_id, after=after)
    except StorageError as error:
        # Without ids, so that it comes back to the place that it has.
        return _refusal(error, options, has_ids=False)


async def _ask(asking: Asking, body: QueryBody) -> Response:
    return await asking.ask(
        field="query",
        query=body.query,
        session_id=body.session_id or uuid.uuid4().hex,
        creates=True,
        resume=True,
    )


def _checked(request: Request, query: str, session_id: str | None) -> QueryBody:
    """Raises: InvalidField, as the body of a POST would be refused."""
    if len(request.scope["raw_path"]) + len(request.scope["query_string"]) > MAX_URL_BYTES:
        raise InvalidField(f"must not exceed {MAX_URL_BYTES} bytes", field="url")
    try:
        return QueryBody(query=query, session_id=session_id)
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        raise InvalidField(message, field=str(first["loc"][0])) from error


def _refusal(error: ServiceError, options: StreamOptions, *, has_ids: bool = True) -> EventStream:
    metrics.refused(error.code)
    log = EventLog(REFUSED)
    follower = log.follow()
    field = f"{error.field}: " if isinstance(error, InvalidField) else ""
    log.append(failure(error, field + str(error)))
    log.append(End())
    log.close()
    headers = error.fields if isinstance(error, TooManyRequests) else {}
    return EventStream(follower, headers=headers, options=options, is_resumable=has_ids)
