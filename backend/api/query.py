"""`POST /query`: ask, and stream the answer. Starting a turn may refuse; streaming it may fail."""

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header
from starlette.requests import HTTPConnection

from backend.api.dependencies import CallerDep, State, StateDep
from backend.api.errors import responses
from backend.api.strict_json import StrictRoute
from backend.conversation import Caller
from backend.errors import (
    BodyTooLarge,
    Draining,
    InvalidField,
    Overloaded,
    Refusal,
    SessionBusy,
    TooManyRequests,
)
from backend.models import QueryBody
from backend.stream import EventStream
from backend.telemetry import metrics

router = APIRouter(tags=["query"], route_class=StrictRoute)

_TURN = {"turn_id": "$response.header.X-Turn-Id"}
STREAMED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The events of the turn",
        "content": {EventStream.media_type: {}},
        "headers": {"X-Turn-Id": {"schema": {"type": "string"}}},
        "links": {
            "turn": {"operationId": "show_turn", "parameters": _TURN},
            "events": {"operationId": "follow_turn", "parameters": _TURN},
            "stop": {"operationId": "stop_turn", "parameters": _TURN},
        },
    }
}
STREAM_REFUSALS: tuple[type[Refusal], ...] = (
    SessionBusy,
    BodyTooLarge,
    TooManyRequests,
    Overloaded,
    Draining,
)

IdempotencyKey = Annotated[
    str | None,
    Header(
        pattern=r"^[\x21-\x7e]{1,128}$",
        description="The same key in the same session joins or replays the turn that it started.",
    ),
]


class Asking:
    """Starts a turn and makes the stream of it; what all ways of asking share."""

    def __init__(
        self,
        state: State,
        caller: Caller,
        connection: HTTPConnection,
        idempotency_key: str | None,
    ) -> None:
        self._options = state["stream_options"]
        self._arrived_at = state["arrived_at"]
        self._max_query_chars = state["max_query_chars"]
        self._admissions = state["admissions"]
        self._turns = state["turns"]
        self._caller = caller
        self._connection = connection
        self._idempotency_key = idempotency_key

    async def ask(
        self, *, field: str, query: str, session_id: str, creates: bool, resume: bool
    ) -> EventStream:
        """`field` is the name under which the query was sent."""
        if len(query) > self._max_query_chars:
            raise InvalidField(f"must not exceed {self._max_query_chars} characters", field=field)
        admission = self._admissions.of(self._caller, self._connection, session_id)
        follower = await self._turns.start(
            self._caller,
            session_id=session_id,
            query=query,
            creates_session=creates,
            is_resumable=resume,
            idempotency_key=self._idempotency_key,
            admission=admission,
        )
        headers = {
            "X-Session-Id": session_id,
            "X-Turn-Id": follower.turn_id,
            **admission.fields,
        }
        return EventStream(
            follower,
            headers=headers,
            options=self._options,
            is_resumable=resume,
            asked_at=self._arrived_at,
        )

    async def follow(self, turn_id: str, *, after: int) -> EventStream:
        """What a reader has missed of a turn, and then what comes."""
        follower = await self._turns.follow(self._caller, turn_id, after=after)
        metrics.stream_resumed()
        headers = {"X-Turn-Id": turn_id}
        return EventStream(follower, headers=headers, options=self._options, is_resumable=True)

    async def is_read(self, turn_id: str, *, after: int) -> bool:
        return await self._turns.is_read(self._caller, turn_id, after=after)


async def _asking(
    state: StateDep,
    caller: CallerDep,
    connection: HTTPConnection,
    idempotency_key: IdempotencyKey = None,
) -> Asking:
    """Not the class itself, which FastAPI would call in a thread."""
    return Asking(state, caller, connection, idempotency_key)


AskingDep = Annotated[Asking, Depends(_asking)]


@router.post("/query", response_model=None, responses=STREAMED | responses(*STREAM_REFUSALS))
async def query(body: QueryBody, asking: AskingDep) -> EventStream:
    """Ask Lex. The session is made on first use; the answer is a stream of events."""
    return await asking.ask(
        field="query",
        query=body.query,
        session_id=body.session_id or uuid.uuid4().hex,
        creates=True,
        resume=body.resume,
    )
