"""Strict JSON: an object with a duplicate name is refused.

Some parsers take the first of two fields with the same name, others the last. So a proxy may have
checked another value than the one that we would use.
"""

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute


class StrictRoute(APIRoute):
    """A route that reads its body as strict JSON in UTF-8."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_strictly(request: Request) -> Response:
            return await handle(_StrictRequest(request.scope, request.receive))

        return handle_strictly


class _StrictRequest(Request):
    async def json(self) -> Any:
        return parse((await self.body()).decode())


def parse(text: str) -> Any:
    """Raises: ValueError, mostly its subclass JSONDecodeError; RecursionError."""
    return json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise json.JSONDecodeError("An object has the same name twice", "", 0)
    return made


def _refuse_constant(name: str) -> None:
    """Refuse NaN and the infinities, which Python's parser accepts although they are not JSON."""
    raise json.JSONDecodeError(f"{name} is not a JSON value", "", 0)
