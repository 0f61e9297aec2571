"""`WS /ws/sessions/{id}`: the same turns and the same events, over a WebSocket.

One connection is one reader of one session. What a stream says in frames, it says in
objects; a refusal is an `error` object, and the connection stays open.
"""

import asyncio
import time
from contextlib import suppress
from typing import Annotated, Any, Literal

import msgspec
import structlog
from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from starlette.websockets import WebSocketDisconnected

from backend.api import strict_json
from backend.api.dependencies import CallerDep, State, StateDep
from backend.api.errors import NOT_ALLOWED, TRY_LATER
from backend.api.last_event_id import place_of
from backend.conversation import Caller
from backend.delivery import Delivery
from backend.errors import (
    Draining,
    InvalidField,
    NotAuthenticated,
    Overloaded,
    ServiceError,
    TurnNotFound,
)
from backend.events import Event, failure
from backend.log import Follower
from backend.models import Said, is_session_id
from backend.stream import cut
from backend.telemetry import metrics

router = APIRouter()

logger = structlog.get_logger()

LEFT = (WebSocketDisconnect, WebSocketDisconnected)
"""What receiving raises when the client left; the second when it was sent something since."""

GONE = (*LEFT, TimeoutError, OSError)
"""What sending raises when the client left, or stopped reading."""

MOST_READ = 8
"""Turns that one connection may read at once; a page shows one."""

CLOSING_SECONDS = 1.0

GOING_AWAY, TOO_LARGE = 1001, 1009


class Ask(BaseModel):
    type: Literal["query"]
    query: Said


class Stop(BaseModel):
    type: Literal["stop"]


class Resume(BaseModel):
    type: Literal["resume"]
    last_event_id: str


_request: TypeAdapter[Ask | Stop | Resume] = TypeAdapter(
    Annotated[Ask | Stop | Resume, Field(discriminator="type")]
)


@router.websocket("/ws/sessions/{session_id}")
async def converse(socket: WebSocket, session_id: str, state: StateDep, caller: CallerDep) -> None:
    turns = state["turns"]
    await socket.accept()
    if not is_session_id(session_id):
        await socket.close(NOT_ALLOWED, "This cannot be the id of a session.")
    elif turns.is_draining:
        metrics.refused(Draining.code)
        await socket.close(GOING_AWAY)
    elif turns.free_slots <= 0:
        metrics.refused(Overloaded.code)
        await socket.close(TRY_LATER)
    else:
        await Connection(socket, state, caller, session_id).serve()


class Connection:
    def __init__(self, socket: WebSocket, state: State, caller: Caller, session_id: str) -> None:
        self._socket = socket
        self._authentication = state["authentication"]
        self._turns = state["turns"]
        self._admissions = state["admissions"]
        self._max_message_bytes = state["max_body_bytes"]
        self._max_query_chars = state["max_query_chars"]
        self._send_timeout_seconds = state["stream_options"].send_timeout_seconds
        self._caller = caller
        self._session_id = session_id
        self._turn_id: str | None = None
        """The turn that was asked for or resumed last."""
        self._reading: dict[str, asyncio.Task[None]] = {}
        self._is_broken = asyncio.Event()
        """An event could not be sent: the reader has stopped reading."""

    async def serve(self) -> None:
        """Until the client leaves, or the server does."""
        listening = asyncio.create_task(self._listen())
        leaving = asyncio.create_task(self._turns.drained.wait())
        breaking = asyncio.create_task(self._is_broken.wait())
        try:
            await asyncio.wait([listening, leaving, breaking], return_when=asyncio.FIRST_COMPLETED)
            if breaking.done():
                await self._close(TRY_LATER)
                cut(self._socket.scope)
            elif leaving.done():
                if self._reading:
                    await asyncio.wait(self._reading.values())
                await self._close(GOING_AWAY)
        finally:
            tasks = [listening, leaving, breaking, *self._reading.values()]
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(result, Exception) and not isinstance(result, GONE):
                    logger.error("connection_broke", exc_info=result)

    async def _close(self, code: int) -> None:
        """Without waiting for a reader that does not read."""
        with suppress(*GONE):
            async with asyncio.timeout(CLOSING_SECONDS):
                await self._socket.close(code)

    async def _listen(self) -> None:
        while True:
            try:
                text = await self._socket.receive_text()
            except LEFT:
                return
            except KeyError:  # a binary frame, which nobody promised to read
                await self._socket.close(NOT_ALLOWED, "Only text is read here.")
                return
            if len(text.encode(errors="replace")) > self._max_message_bytes:
                await self._socket.close(TOO_LARGE)
                return
            try:
                # Anew for each message: a credential may expire, a key may be withdrawn.
                self._caller = await self._authentication.caller(self._socket)
                await self._answer(text)
            except NotAuthenticated as error:
                metrics.refused(error.code)
                await self._socket.close(NOT_ALLOWED)
                return
            except ServiceError as error:
                await self._refuse(error)

    async def _answer(self, text: str) -> None:
        match _parsed(text):
            case Ask(query=query):
                if len(self._reading) >= MOST_READ:
                    raise Overloaded  # before a turn is begun that nobody could read
                asked_at = time.perf_counter()
                self._read(await self._start(query), asked_at=asked_at)
            case Resume(last_event_id=last_event_id):
                self._read(await self._resume(last_event_id))
                metrics.stream_resumed()
            case Stop():
                if self._turn_id is not None:
                    await self._turns.stop(self._caller, self._turn_id)

    async def _start(self, query: str) -> Follower:
        if len(query) > self._max_query_chars:
            message = f"must not exceed {self._max_query_chars} characters"
            raise InvalidField(message, field="query")
        return await self._turns.start(
            self._caller,
            session_id=self._session_id,
            query=query,
            creates_session=True,
            is_resumable=True,
            admission=self._admissions.of(self._caller, self._socket, self._session_id),
            transport="websocket",
        )

    async def _resume(self, last_event_id: str) -> Follower:
        """To this connection there are no turns but those of its session."""
        turn_id, after = place_of(last_event_id)
        if await self._turns.session_of(self._caller, turn_id) != self._session_id:
            raise TurnNotFound
        return await self._turns.follow(self._caller, turn_id, after=after)

    def _read(self, follower: Follower, *, asked_at: float | None = None) -> None:
        """Pass a turn on; one that is read already is read anew, from where it was asked for."""
        turn_id = self._turn_id = follower.turn_id
        if older := self._reading.get(turn_id):
            older.cancel()
        elif len(self._reading) >= MOST_READ:
            follower.leave()
            raise Overloaded
        task = asyncio.create_task(self._pass_on(follower, asked_at))
        self._reading[turn_id] = task
        task.add_done_callback(lambda task: self._read_to_end(follower, task))

    def _read_to_end(self, follower: Follower, task: asyncio.Task[None]) -> None:
        """Called also for a task that was cancelled before it began."""
        follower.leave()
        if self._reading.get(follower.turn_id) is task:
            del self._reading[follower.turn_id]
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, TimeoutError):
            logger.warning("slow_client", turn=follower.turn_id)
        else:
            logger.info("connection_broke", turn=follower.turn_id, error=type(error).__name__)
        self._is_broken.set()

    async def _pass_on(self, follower: Follower, asked_at: float | None) -> None:
        turn_id = follower.turn_id
        with Delivery(follower, transport="websocket", asked_at=asked_at) as delivery:
            try:
                async for batch in follower.batches():
                    for position, event in batch.placed():
                        place = {"id": f"{turn_id}-{position}", "turn": turn_id}
                        await self._send(event, **place)
                    delivery.sent(batch.events)
            except TimeoutError:
                delivery.stalled()
                raise

    async def _refuse(self, error: ServiceError) -> None:
        metrics.refused(error.code)
        field = f"{error.field}: " if isinstance(error, InvalidField) else ""
        await self._send(failure(error, field + str(error)))

    async def _send(self, event: Event, **place: str) -> None:
        body: dict[str, Any] = {"type": event.event, **place, "data": event.data}
        async with asyncio.timeout(self._send_timeout_seconds):
            await self._socket.send_text(msgspec.json.encode(body).decode())


def _parsed(text: str) -> Ask | Stop | Resume:
    """An object says what it is; any other text is a query. Raises: InvalidField."""
    if not text.lstrip().startswith("{"):
        given: Any = {"type": "query", "query": text}
    else:
        try:
            given = strict_json.parse(text)
        except (ValueError, RecursionError) as error:
            raise InvalidField("is not valid JSON", field="message") from error
    try:
        return _request.validate_python(given)
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:
            raise InvalidField("must be query, stop or resume", field="type") from error
        message = first["msg"].removeprefix("Value error, ")
        raise InvalidField(message, field=str(first["loc"][-1])) from error
