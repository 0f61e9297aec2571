"""`POST /query`: start a turn, which may be refused with a status, and stream its events."""

import uuid

from fastapi import APIRouter, Response

from backend.api.asking import AskingDep
from backend.api.last_event_id import LastEventId
from backend.api.openapi.problems import responses
from backend.api.openapi.streams import READ_TO_ITS_END, STREAM_REFUSALS, STREAMED
from backend.api.schemas import QueryBody
from backend.api.strict_json import StrictRoute

router = APIRouter(tags=["query"], route_class=StrictRoute)


@router.post(
    "/query",
    response_model=None,
    responses=STREAMED | READ_TO_ITS_END | responses(*STREAM_REFUSALS),
)
async def query(body: QueryBody, asking: AskingDep, last_event_id: LastEventId = None) -> Response:
    """Ask Lex. The answer is a stream of events. The session is created on first use.

    With `Last-Event-ID` the request asks nothing: it resumes the stream after that event.
    """
    if last_event_id is not None:
        return await asking.read_on(last_event_id, session_id=body.session_id)
    return await asking.ask(
        field="query",
        query=body.query,
        session_id=body.session_id or uuid.uuid4().hex,
        creates=True,
        resume=body.resume,
        replaces=body.replaces,
    )
