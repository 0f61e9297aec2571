"""The straight way of a well-formed question to its stream.

FastAPI resolves dependencies for each request: 480 calls, and three exit stacks that a stream holds
to its end. A question needs the same four things each time, so a `StraightRoute` gets them itself.
It answers no malformed request: those take FastAPI's way, which words the refusal. So both ways
give the same answers, and OpenAPI describes one route.
"""

import inspect
from http import HTTPStatus
from typing import Any

from fastapi import HTTPException, Request
from pydantic import BaseModel, ValidationError
from starlette.types import Message, Receive, Scope, Send

from backend.api.asking import Asking, is_key
from backend.api.dependencies import caller_of, state_of
from backend.api.schemas import is_session_id
from backend.api.strict_json import StrictRoute, parse

JSON = (b"application/json", b"application/json; charset=utf-8")
PARAMETERS = {"body", "asking", "last_event_id", "session_id"}


class StraightRoute(StrictRoute):
    """A POST whose endpoint takes a model as `body`, `asking`, and others of `PARAMETERS`."""

    def __init__(self, path: str, endpoint: Any, **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        parameters = inspect.signature(endpoint).parameters
        if not {"body", "asking"} <= parameters.keys() <= PARAMETERS:
            raise TypeError(f"{endpoint.__name__} has parameters that a straight way cannot fill")
        self._model: type[BaseModel] = parameters["body"].annotation
        self._takes_last_event_id = "last_event_id" in parameters

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(reversed(scope["headers"]))  # of a repeated header, the first counts
        if scope["method"] != "POST" or headers.get(b"content-type") not in JSON:
            await super().handle(scope, receive, send)
            return
        text = await _whole_body(receive)
        given = self._given(scope, headers, text)
        if given is None:
            await super().handle(scope, _again(text, receive), send)
            return
        request = Request(scope, receive, send)
        state = await state_of(request)
        caller = await caller_of(request, state)
        key = headers.get(b"idempotency-key")
        asking = Asking(state, caller, request, key and key.decode("latin-1"))
        response = await self.endpoint(asking=asking, **given)
        await response(scope, receive, send)

    def _given(
        self, scope: Scope, headers: dict[bytes, bytes], text: bytes
    ) -> dict[str, Any] | None:
        """Return the endpoint's arguments; None if anything is malformed."""
        key = headers.get(b"idempotency-key")
        if key is not None and not is_key(key.decode("latin-1")):
            return None
        given: dict[str, Any] = dict(scope["path_params"])
        if "session_id" in given and not is_session_id(given["session_id"]):
            return None
        if self._takes_last_event_id and (last := headers.get(b"last-event-id")) is not None:
            given["last_event_id"] = last.decode("latin-1")
        try:
            return {**given, "body": self._model.model_validate(parse(text.decode()))}
        except (ValidationError, ValueError, RecursionError):
            return None


async def _whole_body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise HTTPException(HTTPStatus.BAD_REQUEST, "There was an error parsing the body")
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _again(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that begins with a body that was read already."""
    is_read = False

    async def receive_again() -> Message:
        nonlocal is_read
        if is_read:
            return await receive()
        is_read = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again
