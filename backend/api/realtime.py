"""`WS /ws/sessions/{id}`: ask and follow turns over a WebSocket.

A connection belongs to one session. Each event is a JSON object. So is a refusal, after which the
connection stays open, unless the authentication has failed.
"""

import asyncio
import secrets
import time
from contextlib import suppress

import structlog
from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from starlette.websockets import WebSocketDisconnected

from backend.api.delivery_metrics import Delivery
from backend.api.dependencies import CallerDep, State, StateDep
from backend.api.last_event_id import place_of
from backend.api.message_ids import turn_of
from backend.api.problem_details import NOT_ALLOWED, TRY_LATER
from backend.api.rate_limits.client_slots import hold_reader_slot
from backend.api.rate_limits.clients import client_of
from backend.api.refusals import message_refused, refused_for
from backend.api.schemas import SESSION_ID_RULE, is_session_id
from backend.api.sse.response import cut
from backend.api.stream_protocol import refusal
from backend.api.websocket.framing import WebSocketMessages, message
from backend.api.websocket.requests import Ask, Resume, Stop, parse
from backend.domain.conversation import Caller
from backend.domain.errors import (
    BodyTooLarge,
    Draining,
    InvalidField,
    NotAuthenticated,
    Overloaded,
    ServiceError,
)
from backend.domain.events import End
from backend.telemetry import metrics
from backend.turns.event_log import Follower

router = APIRouter()

logger = structlog.get_logger()

LEFT = (WebSocketDisconnect, WebSocketDisconnected)
"""Raised by `receive` after the client left; the second one if a send has failed before."""

GONE = (*LEFT, TimeoutError, OSError)
"""Raised by sending when the client left, or stopped reading."""

MOST_READ = 8
"""The number of turns that one connection may read at once. The chat page reads one."""

CLOSING_SECONDS = 1.0

GOING_AWAY, TOO_LARGE = 1001, 1009


@router.websocket("/ws/sessions/{session_id}")
async def converse(socket: WebSocket, session_id: str, state: StateDep, caller: CallerDep) -> None:
    """Serve one connection. Raises: TooManyRequests, before the handshake is answered."""
    sockets, client, holder = state.sockets, client_of(caller, socket), secrets.token_hex(8)
    await sockets.take(client, holder)
    try:
        await _serve(socket, session_id, state, caller)
    finally:
        sockets.release(client, holder)


async def _serve(socket: WebSocket, session_id: str, state: State, caller: Caller) -> None:
    turns = state.turns
    await socket.accept()
    if not is_session_id(session_id):
        refused_for(InvalidField(SESSION_ID_RULE, field="session_id"))
        await socket.close(NOT_ALLOWED, f"The session id {SESSION_ID_RULE}.")
    elif turns.is_draining:
        refused_for(Draining())
        await socket.close(GOING_AWAY)
    elif turns.free_slots <= 0:
        refused_for(Overloaded())
        await socket.close(TRY_LATER)
    else:
        await Connection(socket, state, caller, session_id).serve()


class _Idle(Exception):
    """The client is connected, but has sent and read nothing for too long."""


class Connection:
    """Serves one WebSocket: one task listens, one task per turn sends its events."""

    def __init__(self, socket: WebSocket, state: State, caller: Caller, session_id: str) -> None:
        self._socket = socket
        self._authentication = state.authentication
        self._turns = state.turns
        self._admissions = state.admissions
        self._readers = state.readers
        self._idle_seconds = state.config.socket_idle_seconds
        self._max_message_bytes = state.config.max_body_bytes
        self._max_query_chars = state.config.max_query_chars
        self._send_timeout_seconds = state.config.send_timeout_seconds
        self._caller = caller
        self._session_id = session_id
        self._turn_id: str | None = None
        """The turn that was started or resumed last: a `stop` message means this one."""
        self._reading: dict[str, asyncio.Task[None]] = {}
        self._quiet_since = time.monotonic()
        """The time of the client's last message, or of the end of the last turn that it read."""
        self._is_broken = asyncio.Event()
        """Set when an event could not be sent, mostly because the client has stopped reading."""

    async def serve(self) -> None:
        """Serve until the client leaves, stops reading, or the server has drained."""
        listening = asyncio.create_task(self._listen())
        leaving = asyncio.create_task(self._turns.drained.wait())
        breaking = asyncio.create_task(self._is_broken.wait())
        try:
            await asyncio.wait([listening, leaving, breaking], return_when=asyncio.FIRST_COMPLETED)
            if breaking.done():
                await self._close(TRY_LATER)
                # The close frame queues behind all unread data, so it may never arrive.
                cut(self._socket.scope)
            elif leaving.done():
                # All turns have ended. Let this connection read their last events.
                if self._reading:
                    await asyncio.wait(self._reading.values())
                await self._close(GOING_AWAY)
        finally:
            tasks = [listening, leaving, breaking, *self._reading.values()]
            for task in tasks:
                task.cancel()
            # Wait for all: no exception is lost, and no task outlives the connection.
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(result, Exception) and not isinstance(result, GONE):
                    logger.error("connection_broke", exc_info=result)

    async def _close(self, code: int) -> None:
        """Close the socket; give up after `CLOSING_SECONDS` if the client does not read."""
        with suppress(*GONE):
            async with asyncio.timeout(CLOSING_SECONDS):
                await self._socket.close(code)

    async def _listen(self) -> None:
        while True:
            try:
                text = await self._receive()
            except LEFT as left:
                # Our own server limits the size of a message while it arrives.
                if isinstance(left, WebSocketDisconnect) and left.code == TOO_LARGE:
                    message_refused(BodyTooLarge())
                return
            except _Idle:
                await self._close(GOING_AWAY)
                return
            except KeyError:  # a binary frame
                message_refused(InvalidField("must be text", field="message"))
                await self._socket.close(NOT_ALLOWED, "Send text frames, not binary frames.")
                return
            if len(text.encode(errors="replace")) > self._max_message_bytes:  # on other servers
                message_refused(BodyTooLarge())
                await self._socket.close(TOO_LARGE)
                return
            try:
                # Check again for each message: a credential may expire, a key may be withdrawn.
                self._caller = await self._authentication.caller(self._socket)
                await self._answer(text)
            except NotAuthenticated as error:
                message_refused(error)
                await self._socket.close(NOT_ALLOWED)
                return
            except ServiceError as error:
                message_refused(error)
                await self._send(message(refusal(error)))

    async def _receive(self) -> str:
        """Return the next message. Raises: _Idle, if nothing was sent or read for too long."""
        while True:
            try:
                async with asyncio.timeout(self._seconds_to_idle):
                    text = await self._socket.receive_text()
            except TimeoutError:
                # A turn may have started or ended during the wait, which restarts the idle time.
                if self._seconds_to_idle <= 0:
                    raise _Idle from None
            else:
                self._quiet_since = time.monotonic()
                return text

    @property
    def _seconds_to_idle(self) -> float:
        """The seconds left until the connection is idle. Reading a turn stops the clock."""
        if self._reading:
            return self._idle_seconds
        return self._quiet_since + self._idle_seconds - time.monotonic()

    async def _answer(self, text: str) -> None:
        match parse(text):
            case Ask(query=query, replaces=replaces):
                if len(self._reading) >= MOST_READ:
                    raise Overloaded  # a turn that this connection could not read must not start
                self._read(await self._start(query, replaces), is_asker=True)
            case Resume(last_event_id=last_event_id):
                await self._read_on(last_event_id)
            case Stop():
                if self._turn_id is not None:
                    await self._turns.stop(self._caller, self._turn_id)

    async def _start(self, query: str, replaces: str | None) -> Follower:
        if len(query) > self._max_query_chars:
            raise InvalidField(f"must not exceed {self._max_query_chars} characters", field="query")
        return await self._turns.start(
            self._caller,
            session_id=self._session_id,
            query=query,
            creates_session=True,
            is_resumable=True,
            admission=self._admissions.of(self._caller, self._socket, self._session_id),
            transport="websocket",
            replaces=None if replaces is None else turn_of(replaces),
        )

    async def _read_on(self, last_event_id: str) -> None:
        """Resume a turn of this session. Turns of other sessions are not found."""
        turn_id, after = place_of(last_event_id)
        follower = await self._turns.follow(
            self._caller, turn_id, after=after, session_id=self._session_id
        )
        if follower.is_at_end:
            follower.leave()
            self._turn_id = turn_id
            await self._send(message(End(), id=last_event_id, turn=turn_id))
            return
        await hold_reader_slot(follower, self._readers, client_of(self._caller, self._socket))
        self._read(follower)
        metrics.stream_resumed()

    def _read(self, follower: Follower, *, is_asker: bool = False) -> None:
        """Start to send the events of a turn, instead of an earlier reader of the same turn."""
        turn_id = self._turn_id = follower.turn_id
        if older := self._reading.get(turn_id):
            # Two readers of one turn would send its events twice.
            older.cancel()
        elif len(self._reading) >= MOST_READ:
            follower.leave()
            raise Overloaded
        task = asyncio.create_task(self._pass_on(follower, is_asker=is_asker))
        self._reading[turn_id] = task
        task.add_done_callback(lambda task: self._read_to_end(follower, task))

    def _read_to_end(self, follower: Follower, task: asyncio.Task[None]) -> None:
        # A callback, because a task that is cancelled before it starts never runs its `finally`.
        follower.leave()
        self._quiet_since = time.monotonic()
        if self._reading.get(follower.turn_id) is task:  # not a newer reader of the same turn
            del self._reading[follower.turn_id]
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, TimeoutError):
            logger.warning("slow_client", turn=follower.turn_id)
        else:
            logger.info("connection_broke", turn=follower.turn_id, error=type(error).__name__)
        self._is_broken.set()

    async def _pass_on(self, follower: Follower, *, is_asker: bool) -> None:
        framing = WebSocketMessages(follower)
        with Delivery(follower, transport="websocket", is_asker=is_asker) as delivery:
            try:
                async for batch in follower.batches():
                    for frame in framing.frames(batch):
                        with delivery.sending:
                            await self._send(frame)
                    delivery.sent(batch.events)
            except TimeoutError:
                delivery.stalled()
                raise

    async def _send(self, frame: bytes) -> None:
        async with asyncio.timeout(self._send_timeout_seconds):
            await self._socket.send_text(frame.decode())
