"""`GET /metrics`: what was counted, on the public port or on one of its own."""

from fastapi import APIRouter, Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from backend.api.errors import problem
from backend.telemetry.exposition import exposition

router = APIRouter()

PATH = "/metrics"


@router.get(PATH, include_in_schema=False)
def show(request: Request) -> Response:
    """No coroutine, so it runs in a thread: it takes too long for the event loop."""
    body, media_type = exposition(request.headers.get("accept", ""))
    return Response(body, media_type=media_type)


class MetricsPort:
    """Plain ASGI. The metrics are found on this port alone, and nothing else is found there."""

    def __init__(self, app: ASGIApp, *, port: int) -> None:
        self._app = app
        self._port = port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._belongs(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            answer = problem(404, code="not_found", detail="Not Found")
            await answer(scope, receive, send)
        else:
            await WebSocketClose()(scope, receive, send)

    def _belongs(self, scope: Scope) -> bool:
        _, port = scope.get("server") or (None, None)
        is_here, is_asked_for = port == self._port, scope["path"] == PATH
        return is_here is is_asked_for
