"""Report a failed start in one line, under any ASGI server."""

from collections.abc import MutableMapping, Sequence
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.telemetry.redaction import redacted


class OneLineStart:
    """Middleware that shortens the traceback of a failed start to its one line.

    It keeps the traceback of an unexpected exception, without secrets. It also stores the server's
    state for `state_of_server`, because FastAPI does not pass it to the lifespan.
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
    """Return the lifespan state that the server passed in; requests will find it as well.

    It is empty if the lifespan runs without `OneLineStart`.
    """
    state: MutableMapping[str, Any] = getattr(app.state, "of_server", {})
    return state
