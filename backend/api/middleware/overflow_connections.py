"""Refuse requests on connections beyond the limit of file descriptors, except probes."""

from starlette.types import ASGIApp, Receive, Scope, Send

from backend.api.problem_details import RETRY_SECONDS, problem
from backend.domain.errors import Overloaded
from backend.server.protocols import NO_ROOM
from backend.telemetry.server_span import PROBES


class OverflowConnections:
    """Answers 503. The server marks these connections, and closes each after one response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_overflow = scope["type"] == "http" and "lex.overflow" in scope.get("extensions", {})
        is_refused = is_overflow and scope["path"] not in PROBES
        answer = _no_room() if is_refused else self._app
        await answer(scope, receive, send)


def _no_room() -> ASGIApp:
    return problem(503, code=Overloaded.code, detail=NO_ROOM, retry_after=RETRY_SECONDS)
