"""`GET /query`, for a browser's own `EventSource`.

It can only GET, cannot read a status, and comes back by itself whenever a stream ends. So
refusals are streams too, whoever comes back is never asked for anew, and who has read
everything is told to stay away: by a 204, the one answer that ends an `EventSource`.
"""

import uuid
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.routing import APIRoute
from pydantic import ValidationError

from backend.api.errors import responses
from backend.api.last_event_id import LastEventId, place_of
from backend.api.query import STREAMED, Asking, AskingDep
from backend.errors import (
    IdentityUnavailable,
    InvalidField,
    ServiceError,
    StorageError,
    TooManyRequests,
    TurnNotFound,
)
from backend.events import End, failure
from backend.log import EventLog
from backend.models import QueryBody
from backend.stream import EventStream, StreamOptions
from backend.telemetry import metrics

MAX_URL_BYTES = 8192
REFUSED = "refused"
"""Stands for a turn in the ids of a refusal, so that coming back to it is recognised."""


PASSING = (StorageError, IdentityUnavailable)
"""Refusals after which a reader may still come back to its place."""


class StreamedRefusals(APIRoute):
    """Whoever refuses, a dependency or the route itself, it becomes a stream."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_or_refuse(request: Request) -> Response:
            last_event_id = request.headers.get("last-event-id")
            if last_event_id is not None and last_event_id.startswith(f"{REFUSED}-"):
                return Response(status_code=204)
            try:
                return await handle(request)
            except ServiceError as error:
                # Without ids it comes back to the place that it has.
                has_ids = last_event_id is None or not isinstance(error, PASSING)
                return _refusal(error, request.scope["state"]["stream_options"], has_ids=has_ids)

        return handle_or_refuse


router = APIRouter(tags=["query"], route_class=StreamedRefusals)


@router.get(
    "/query",
    response_model=None,
    responses=STREAMED
    | responses(TurnNotFound)
    | {204: {"description": "That turn was read to its end"}},
)
async def query(
    request: Request,
    asking: AskingDep,
    query: Annotated[str, Query(description="What the customer says.")] = "",
    session_id: Annotated[str | None, Query()] = None,
    last_event_id: LastEventId = None,
) -> Response:
    """Ask Lex, or read on. Always resumable; refusals are a stream of `error` and `end`."""
    if last_event_id is not None:
        return await _read_on(asking, last_event_id)
    return await _ask(asking, _checked(request, query, session_id))


async def _read_on(asking: Asking, last_event_id: str) -> Response:
    turn_id, after = place_of(last_event_id)
    if await asking.is_read(turn_id, after=after):
        return Response(status_code=204)
    return await asking.follow(turn_id, after=after)


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


def _refusal(error: ServiceError, options: StreamOptions, *, has_ids: bool) -> EventStream:
    metrics.refused(error.code)
    log = EventLog(REFUSED)
    follower = log.follow()
    field = f"{error.field}: " if isinstance(error, InvalidField) else ""
    log.append(failure(error, field + str(error)))
    log.append(End())
    log.close()
    headers = error.fields if isinstance(error, TooManyRequests) else {}
    return EventStream(follower, headers=headers, options=options, is_resumable=has_ids)
