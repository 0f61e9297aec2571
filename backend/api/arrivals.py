"""When a request arrived, before anything was done with it."""

import time

from starlette.types import ASGIApp, Receive, Scope, Send


class Arrivals:
    """Plain ASGI, outside of all else. Routes find the time in the request's state."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["state"]["arrived_at"] = time.perf_counter()
        await self._app(scope, receive, send)
