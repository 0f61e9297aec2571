"""Connections beyond those that there are descriptors for: probes are answered, others refused."""

from starlette.types import ASGIApp, Receive, Scope, Send

from backend.api.problem_details import RETRY_SECONDS, problem
from backend.domain.errors import Overloaded
from backend.server.protocols import NO_ROOM
from backend.telemetry.server_span import PROBES


class OverflowConnections:
    """Plain ASGI. The server says which connections these are, and closes each after one answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_overflow = scope["type"] == "http" and "lex.overflow" in scope.get("extensions", {})
        is_refused = is_overflow and scope["path"] not in PROBES
        answer = _no_room() if is_refused else self._app
        await answer(scope, receive, send)


def _no_room() -> ASGIApp:
    return problem(503, code=Overloaded.code, detail=NO_ROOM, retry_after=RETRY_SECONDS)
