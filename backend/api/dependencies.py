"""What routes ask for, by name. All of it was opened by the lifespan in `main`."""

from typing import Annotated, NotRequired, TypedDict, cast

from fastapi import Depends
from starlette.requests import HTTPConnection

from backend.api.admission import Admissions
from backend.api.auth.authentication import Authentication, OpenHouse
from backend.conversation import Caller
from backend.resilience.fallbacks import Fallbacks
from backend.sharing import Sharing
from backend.storage.ports.sessions import SessionStore
from backend.storage.ports.stores import Stores
from backend.stream import StreamOptions
from backend.turns import Turns


class State(TypedDict):
    """What the lifespan yields, and a request finds in its `state`."""

    authentication: Authentication | OpenHouse
    turns: Turns
    admissions: Admissions
    stores: Stores
    models: Fallbacks
    sharing: Sharing | None
    stream_options: StreamOptions
    """Of plain streams, if they are not the standard ones."""
    max_query_chars: int
    max_body_bytes: int
    upstream: str
    drain_accept_seconds: float
    drain_seconds: float
    send_timeout_seconds: float
    metrics_port: int | None
    arrived_at: NotRequired[float]
    """Of this HTTP request, as `time.perf_counter` has it."""


async def _state(connection: HTTPConnection) -> State:
    """Of a request and of a WebSocket alike."""
    return cast(State, connection.scope["state"])


StateDep = Annotated[State, Depends(_state)]


async def _turns(state: StateDep) -> Turns:
    return state["turns"]


async def _stores(state: StateDep) -> Stores:
    return state["stores"]


async def _sessions(state: StateDep) -> SessionStore:
    return state["stores"].sessions


async def _caller(connection: HTTPConnection, state: StateDep) -> Caller:
    """Raises: NotAuthenticated, IdentityUnavailable, InvalidField."""
    return await state["authentication"].caller(connection)


TurnsDep = Annotated[Turns, Depends(_turns)]
StoresDep = Annotated[Stores, Depends(_stores)]
SessionsDep = Annotated[SessionStore, Depends(_sessions)]
CallerDep = Annotated[Caller, Depends(_caller)]
