"""One line for each request that has ended. Probes and scrapes would drown all others."""

import time

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.telemetry.server_span import PROBES, route_of, status_of

logger = structlog.get_logger()


class AccessLog:
    """Plain ASGI. It names the route and not the path, which has ids of sessions in it; nor the
    query string, which has what a person said.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        status: int | None = None

        async def send_noticed(message: Message) -> None:
            nonlocal status
            status = status or status_of(message)
            await send(message)

        try:
            await self._app(scope, receive, send_noticed)
        finally:
            logger.info(
                "request_finished",
                method=scope.get("method", "WEBSOCKET"),
                route=route_of(scope),
                status=status,
                seconds=round(time.perf_counter() - begun, 4),
            )
