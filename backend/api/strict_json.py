"""JSON in which no object has the same name twice.

One reader takes the first of two such fields and another the last, so a proxy may have checked
another value than the one that is read here.
"""

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute


class StrictRoute(APIRoute):
    """Reads its body as strict JSON in UTF-8."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_strictly(request: Request) -> Response:
            return await handle(_StrictRequest(request.scope, request.receive))

        return handle_strictly


class _StrictRequest(Request):
    async def json(self) -> Any:
        return parse((await self.body()).decode())


def parse(text: str) -> Any:
    """Raises: ValueError, a JSONDecodeError where there is a place to name; RecursionError."""
    return json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise json.JSONDecodeError("The same name twice in one object", "", 0)
    return made


def _refuse_constant(name: str) -> None:
    """NaN and the infinities, which only Python takes for JSON."""
    raise json.JSONDecodeError(f"{name} is no value", "", 0)
