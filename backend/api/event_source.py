"""`GET /query`, for the `EventSource` of browsers.

An `EventSource` can only GET, cannot read a status, and reconnects whenever a stream ends. So
refusals are streams as well, a reconnect never asks again, and a client that has read everything
gets 204, the only answer that stops it.
"""

import uuid
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.routing import APIRoute
from pydantic import ValidationError

from backend.api.asking import Asking, AskingDep
from backend.api.dependencies import Config
from backend.api.last_event_id import LastEventId
from backend.api.openapi.problems import responses
from backend.api.openapi.streams import READ_TO_ITS_END, STREAMED
from backend.api.refusals import refused_for
from backend.api.schemas import QueryBody
from backend.api.sse.response import EventStream
from backend.api.sse.resumable import Resumable
from backend.api.stream_protocol import refusal
from backend.domain.errors import (
    IdentityUnavailable,
    InvalidField,
    ServiceError,
    StorageError,
    TooManyRequests,
    TurnNotFound,
)
from backend.domain.events import End
from backend.turns.event_log import EventLog

MAX_URL_BYTES = 8192
REFUSED = "refused"
"""Takes the place of the turn id in the event ids of a refusal, to recognise the reconnect."""


PASSING = (StorageError, IdentityUnavailable, TooManyRequests)
"""Refusals of a resume that may pass, so that the client can try again from the same place.

A resume gets TooManyRequests when its client has as many readers as it may.
"""


class StreamedRefusals(APIRoute):
    """Turns every refusal into a stream, whether a dependency or the route itself raises it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_or_refuse(request: Request) -> Response:
            last_event_id = request.headers.get("last-event-id")
            if last_event_id is not None and last_event_id.startswith(f"{REFUSED}-"):
                return Response(status_code=204)
            try:
                return await handle(request)
            except ServiceError as error:
                # An id in the refusal would replace the client's `Last-Event-ID`, and the client
                # would lose its place in the turn. Without ids it reconnects to that place.
                has_ids = last_event_id is None or not isinstance(error, PASSING)
                return _refused(error, request.scope["state"]["config"], has_ids=has_ids)

        return handle_or_refuse


router = APIRouter(tags=["query"], route_class=StreamedRefusals)


@router.get(
    "/query",
    response_model=None,
    responses=STREAMED | READ_TO_ITS_END | responses(TurnNotFound),
)
async def query(
    request: Request,
    asking: AskingDep,
    query: Annotated[str, Query(description="The customer's question.")] = "",
    session_id: Annotated[str | None, Query()] = None,
    last_event_id: LastEventId = None,
) -> Response:
    """Ask Lex, or resume. Streams are always resumable. A refusal is a stream of `error`, `end`."""
    if last_event_id is not None:
        return await asking.read_on(last_event_id, session_id=session_id)
    return await _ask(asking, _checked(request, query, session_id))


async def _ask(asking: Asking, body: QueryBody) -> Response:
    return await asking.ask(
        field="query",
        query=body.query,
        session_id=body.session_id or uuid.uuid4().hex,
        creates=True,
        resume=True,
    )


def _checked(request: Request, query: str, session_id: str | None) -> QueryBody:
    """Check the parameters like the body of a `POST /query`. Raises: InvalidField."""
    if len(request.scope["raw_path"]) + len(request.scope["query_string"]) > MAX_URL_BYTES:
        raise InvalidField(f"must not exceed {MAX_URL_BYTES} bytes", field="url")
    try:
        return QueryBody(query=query, session_id=session_id)
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        raise InvalidField(message, field=str(first["loc"][0])) from error


def _refused(error: ServiceError, config: Config, *, has_ids: bool) -> EventStream:
    refused_for(error)
    log = EventLog(REFUSED)
    follower = log.follow()
    log.append(refusal(error))
    log.append(End())
    log.close()
    headers = error.fields if isinstance(error, TooManyRequests) else {}
    framing = Resumable if has_ids else config.plain_framing
    return EventStream(
        follower, framing=framing(follower), headers=headers, options=config.stream_options
    )
