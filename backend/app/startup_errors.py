"""A start that fails: one line for people, whatever the server makes of it."""

from collections.abc import MutableMapping, Sequence
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.telemetry.redaction import redacted


class OneLineStart:
    """Plain ASGI. A start that fails says why in one line, not in a traceback. Should it be a
    defect, so that there is one, no secret is in it.

    It also keeps the server's state for the lifespan, which FastAPI does not show it.
    """

    def __init__(self, app: ASGIApp, *, secrets: Sequence[str]) -> None:
        self._app = app
        self._secrets = secrets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return

        async def send_shortened(message: Message) -> None:
            if message["type"] == "lifespan.startup.failed":
                message = {**message, "message": self._shortened(message["message"])}
            await send(message)

        scope["app"].state.of_server = scope["state"]
        await self._app(scope, receive, send_shortened)

    def _shortened(self, text: str) -> str:
        *_, last = text.strip().splitlines()
        if last.startswith("SystemExit: "):
            return last.removeprefix("SystemExit: ")
        return redacted(text, self._secrets)


def state_of_server(app: FastAPI) -> MutableMapping[str, Any]:
    """The state of the lifespan, which the server has filled and requests will find. Empty under a
    server that runs the lifespan without the middleware.
    """
    state: MutableMapping[str, Any] = getattr(app.state, "of_server", {})
    return state
