"""Ask and follow for one request: what every route that streams a turn does, in any framing."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Self

from fastapi import Depends, Header, Response
from starlette.requests import HTTPConnection

from backend.api.dependencies import CallerDep, State, StateDep
from backend.api.last_event_id import place_of
from backend.api.message_ids import turn_of
from backend.api.rate_limits.client_slots import hold_reader_slot
from backend.api.rate_limits.clients import client_of
from backend.api.sse.response import EventStream
from backend.api.sse.resumable import Resumable
from backend.api.stream_protocol import OpenFraming
from backend.domain.conversation import Caller, Message
from backend.domain.errors import InvalidField
from backend.domain.events import Transport
from backend.telemetry import identity, metrics
from backend.turns.event_log import Follower, Place

KEY_PATTERN = r"^[\x21-\x7e]{1,128}$"

IdempotencyKey = Annotated[
    str | None,
    Header(
        pattern=KEY_PATTERN,
        description="Makes a retry safe: the same key in the same session joins or replays the "
        "turn that it started. The same key with another question is refused.",
    ),
]


def is_key(text: str) -> bool:
    return re.fullmatch(KEY_PATTERN, text) is not None


def key_of(text: str) -> str:
    """Return an idempotency key for any text: the text itself, or its hash if it is no key."""
    return text if is_key(text) else hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class Started:
    """A turn that this request started or joined. The caller must call `follower.leave()`."""

    follower: Follower
    headers: Mapping[str, str]
    """The headers of the answer: the session, the turn, and the client's rate limits."""


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

    def with_key(self, key: str) -> Self:
        """Use this idempotency key instead of the request's header. It may be any text."""
        self._idempotency_key = key_of(key)
        return self

    async def ask(
        self,
        *,
        field: str,
        query: str,
        session_id: str,
        creates: bool,
        resume: bool,
        transport: Transport = "sse",
        framing: OpenFraming | None = None,
        replaces: str | None = None,
        given: Sequence[Message] = (),
        is_stored: bool = True,
    ) -> EventStream:
        """Start or join a turn like `start`, and stream its events.

        Without a `framing`, the events have the form of our own stream.
        """
        started = await self.start(
            field=field,
            query=query,
            session_id=session_id,
            creates=creates,
            resume=resume,
            transport=transport,
            replaces=replaces,
            given=given,
            is_stored=is_stored,
        )
        open_framing = framing or (Resumable if resume else self._plain_framing)
        return EventStream(
            started.follower,
            framing=open_framing(started.follower),
            headers=started.headers,
            options=self._options,
            transport=transport,
            is_asker=True,
        )

    async def start(
        self,
        *,
        field: str,
        query: str,
        session_id: str,
        creates: bool,
        resume: bool,
        transport: Transport = "sse",
        replaces: str | None = None,
        given: Sequence[Message] = (),
        is_stored: bool = True,
    ) -> Started:
        """Start a turn, or join the one of the same `Idempotency-Key`.

        `field` is the name by which the client sent the query. `replaces` is the id of a message:
        the turn that has it, and all later ones, leave the history. For `given` and `is_stored`,
        see `Turns.start`. Raises: InvalidField, and what `Turns.start` raises.
        """
        if len(query) > self._max_query_chars:
            raise InvalidField(f"must not exceed {self._max_query_chars} characters", field=field)
        replaced = None if replaces is None else turn_of(replaces)
        if is_stored:
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
            transport=transport,
            asked_at=self._arrived_at,
            replaces=replaced,
            given=given,
            is_stored=is_stored,
        )
        if not admission.is_of(follower.turn_id):
            await hold_reader_slot(follower, self._readers, admission.client)
        ids = {"X-Turn-Id": follower.turn_id}
        if is_stored:
            ids = {"X-Session-Id": session_id, **ids}
        return Started(follower, {**ids, **admission.fields})

    async def turn_of_key(self, session_id: str, key: str) -> str | None:
        """Return the id of the turn that this key has started in a session of the caller."""
        return await self._turns.turn_of_key(self._caller, session_id, key_of(key))

    async def read_on(self, last_event_id: str, *, session_id: str | None = None) -> Response:
        """Resume after an event. If a session is given, the turn must belong to it."""
        turn_id, after = place_of(last_event_id)
        return await self.follow(turn_id, after=after, session_id=session_id)

    async def follow(
        self,
        turn_id: str,
        *,
        after: Place = 0,
        session_id: str | None = None,
        transport: Transport = "sse",
        framing: OpenFraming = Resumable,
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
        return EventStream(
            follower,
            framing=framing(follower),
            headers=headers,
            options=self._options,
            transport=transport,
        )


async def _asking(
    state: StateDep,
    caller: CallerDep,
    connection: HTTPConnection,
    idempotency_key: IdempotencyKey = None,
) -> Asking:
    # A coroutine, because FastAPI would call the class itself in a thread.
    return Asking(state, caller, connection, idempotency_key)


AskingDep = Annotated[Asking, Depends(_asking)]
