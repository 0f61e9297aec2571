"""The dependencies of routes. The lifespan in `main` opens them all."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, NotRequired, Protocol, TypedDict, cast

from fastapi import Depends
from starlette.requests import HTTPConnection

from backend.api.auth.authentication import Authentication, NoAuthentication
from backend.api.rate_limits.admission import Admissions
from backend.api.rate_limits.client_slots import ClientSlots
from backend.api.rate_limits.clients import name_of
from backend.api.sse.response import StreamOptions
from backend.api.stream_protocol import OpenFraming
from backend.domain.conversation import Caller
from backend.domain.errors import StoreAway
from backend.llm.resilience.fallback import Fallback
from backend.storage.ports.sessions import SessionStore
from backend.storage.ports.stores import Stores
from backend.telemetry import identity
from backend.turns.shared_logs import SharedLogs
from backend.turns.turns import Turns


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The settings for routes and the server; available while the worker waits for its store."""

    stream_options: StreamOptions
    plain_framing: OpenFraming
    """The framing of streams that cannot be resumed."""
    socket_idle_seconds: float
    max_query_chars: int
    max_body_bytes: int
    openai_session_headers: Sequence[str]
    """The headers in which front ends send their conversation to OpenAI's door."""
    upstream: str
    max_connections: int
    """The number of client connections for which there are file descriptors."""
    warnings: Sequence[str]
    """Sentences for operators that `/readyz` and the chat page show."""
    drain_accept_seconds: float
    drain_seconds: float
    metrics_port: int | None

    @property
    def send_timeout_seconds(self) -> float:
        return self.stream_options.send_timeout_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Everything that the lifespan opened."""

    config: Config
    authentication: Authentication | NoAuthentication
    turns: Turns
    admissions: Admissions
    sockets: ClientSlots
    readers: ClientSlots
    stores: Stores
    models: Fallback
    shared_logs: SharedLogs | None


class Starting(Protocol):
    @property
    def reason(self) -> str | None:
        """Why the start-up has not finished; None before the first attempt and afterwards."""
        ...


class LifespanState(TypedDict):
    """Yielded by the lifespan; each request finds it as `scope["state"]`."""

    config: Config
    start: Starting
    opened: NotRequired[State]
    """Missing while the worker waits for its store."""
    arrived_at: NotRequired[float]
    """When this HTTP request arrived, by `time.perf_counter`."""


async def _lifespan_state(connection: HTTPConnection) -> LifespanState:
    return cast(LifespanState, connection.scope["state"])


async def _state(connection: HTTPConnection) -> State:
    """Raises: StoreAway, while the worker waits for its store."""
    state = (await _lifespan_state(connection)).get("opened")
    if state is None:
        raise StoreAway
    return state


LifespanStateDep = Annotated[LifespanState, Depends(_lifespan_state)]
StateDep = Annotated[State, Depends(_state)]


async def _turns(state: StateDep) -> Turns:
    return state.turns


async def _stores(state: StateDep) -> Stores:
    return state.stores


async def _sessions(state: StateDep) -> SessionStore:
    return state.stores.sessions


async def _caller(connection: HTTPConnection, state: StateDep) -> Caller:
    """Raises: NotAuthenticated, IdentityUnavailable, InvalidField."""
    if (session_id := connection.path_params.get("session_id")) is not None:
        identity.note_session(session_id)
    caller = await state.authentication.caller(connection)
    identity.note_client(name_of(caller, connection), key_name=caller.key_name)
    return caller


TurnsDep = Annotated[Turns, Depends(_turns)]
StoresDep = Annotated[Stores, Depends(_stores)]
SessionsDep = Annotated[SessionStore, Depends(_sessions)]
CallerDep = Annotated[Caller, Depends(_caller)]
