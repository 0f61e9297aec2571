"""`POST /query`: start a turn, which may be refused with a status, and stream its events."""

import uuid
from typing import Annotated, Any, get_args

from fastapi import APIRouter, Depends, Header, Response
from starlette.requests import HTTPConnection

from backend.api.dependencies import CallerDep, State, StateDep
from backend.api.last_event_id import LastEventId, place_of
from backend.api.openapi.problems import responses
from backend.api.rate_limits.client_slots import hold_reader_slot
from backend.api.rate_limits.clients import client_of
from backend.api.schemas import QueryBody
from backend.api.sse.response import EventStream
from backend.api.sse.resumable import Resumable
from backend.api.stream_protocol import Framing
from backend.api.strict_json import StrictRoute
from backend.domain.conversation import Caller
from backend.domain.errors import (
    BodyTooLarge,
    BudgetExhausted,
    Draining,
    InvalidField,
    LogGone,
    Overloaded,
    Refusal,
    SessionBusy,
    TooManyRequests,
    TurnNotFound,
)
from backend.domain.events import Event
from backend.telemetry import identity, metrics
from backend.turns.event_log import Place

router = APIRouter(tags=["query"], route_class=StrictRoute)

_TURN = {"turn_id": "$response.header.X-Turn-Id"}
STREAMED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The events of the turn: "
        + ", ".join(f"`{event.__struct_config__.tag}`" for event in get_args(Event))
        + ". `outcome` says how the turn ended. Clients must skip events that they do not know.",
        "content": {Framing.media_type: {}},
        "headers": {"X-Turn-Id": {"schema": {"type": "string"}}},
        "links": {
            "turn": {"operationId": "show_turn", "parameters": _TURN},
            "events": {"operationId": "follow_turn", "parameters": _TURN},
            "stop": {"operationId": "stop_turn", "parameters": _TURN},
        },
    }
}
READ_TO_ITS_END: dict[int | str, dict[str, Any]] = {
    204: {"description": "The turn has ended, and `Last-Event-ID` is its last event."}
}
STREAM_REFUSALS: tuple[type[Refusal], ...] = (
    TurnNotFound,
    SessionBusy,
    LogGone,
    BodyTooLarge,
    BudgetExhausted,
    TooManyRequests,
    Overloaded,
    Draining,
)

IdempotencyKey = Annotated[
    str | None,
    Header(
        pattern=r"^[\x21-\x7e]{1,128}$",
        description="Makes a retry safe: the same key in the same session joins or replays the "
        "turn that it started. The same key with another question is refused.",
    ),
]


class Asking:
    """Starts or follows a turn and returns its stream; shared by all routes that stream."""

    def __init__(
        self,
        state: State,
        caller: Caller,
        connection: HTTPConnection,
        idempotency_key: str | None,
    ) -> None:
        self._options = state.config.stream_options
        self._plain_framing = state.config.plain_framing
        self._arrived_at = connection.scope["state"]["arrived_at"]
        self._max_query_chars = state.config.max_query_chars
        self._admissions = state.admissions
        self._readers = state.readers
        self._turns = state.turns
        self._caller = caller
        self._connection = connection
        self._idempotency_key = idempotency_key

    async def ask(
        self, *, field: str, query: str, session_id: str, creates: bool, resume: bool
    ) -> EventStream:
        """Start a turn, or join the one of the same `Idempotency-Key`.

        `field` is the name by which the client sent the query. Raises: InvalidField, and what
        `Turns.start` raises.
        """
        if len(query) > self._max_query_chars:
            raise InvalidField(f"must not exceed {self._max_query_chars} characters", field=field)
        identity.note_session(session_id)
        admission = self._admissions.of(self._caller, self._connection, session_id)
        follower = await self._turns.start(
            self._caller,
            session_id=session_id,
            query=query,
            creates_session=creates,
            is_resumable=resume,
            idempotency_key=self._idempotency_key,
            admission=admission,
            asked_at=self._arrived_at,
        )
        if not admission.is_of(follower.turn_id):
            await hold_reader_slot(follower, self._readers, admission.client)
        headers = {
            "X-Session-Id": session_id,
            "X-Turn-Id": follower.turn_id,
            **admission.fields,
        }
        framing = Resumable if resume else self._plain_framing
        return EventStream(
            follower,
            framing=framing(follower),
            headers=headers,
            options=self._options,
            is_asker=True,
        )

    async def read_on(self, last_event_id: str, *, session_id: str | None = None) -> Response:
        """Resume after an event. If a session is given, the turn must belong to it."""
        turn_id, after = place_of(last_event_id)
        return await self.follow(turn_id, after=after, session_id=session_id)

    async def follow(
        self, turn_id: str, *, after: Place = 0, session_id: str | None = None
    ) -> Response:
        """Stream the events after a place; answer 204 if the turn has ended and none is left."""
        follower = await self._turns.follow(
            self._caller, turn_id, after=after, session_id=session_id
        )
        headers = {"X-Session-Id": follower.session_id, "X-Turn-Id": turn_id}
        if follower.is_at_end:
            follower.leave()
            return Response(status_code=204, headers=headers)
        await hold_reader_slot(follower, self._readers, client_of(self._caller, self._connection))
        metrics.stream_resumed()
        framing = Resumable(follower)
        return EventStream(follower, framing=framing, headers=headers, options=self._options)


async def _asking(
    state: StateDep,
    caller: CallerDep,
    connection: HTTPConnection,
    idempotency_key: IdempotencyKey = None,
) -> Asking:
    # A coroutine, because FastAPI would call the class itself in a thread.
    return Asking(state, caller, connection, idempotency_key)


AskingDep = Annotated[Asking, Depends(_asking)]


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
    )
