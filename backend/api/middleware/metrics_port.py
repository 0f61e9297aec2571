"""Serve the metrics on a port of their own (`METRICS_PORT`)."""

from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from backend.api.metrics import PATH
from backend.api.problem_details import problem
from backend.api.refusals import request_refused


class MetricsPort:
    """Answers 404 for the metrics on other ports, and for everything else on this port."""

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
            request_refused("not_found", status=404)
            await WebSocketClose()(scope, receive, send)

    def _belongs(self, scope: Scope) -> bool:
        _, port = scope.get("server") or (None, None)
        is_here, is_asked_for = port == self._port, scope["path"] == PATH
        return is_here is is_asked_for
