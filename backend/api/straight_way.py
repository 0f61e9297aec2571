"""The straight way to routes that stream, without FastAPI's routing, dependencies and exit stacks.

It saves CPU. Only valid requests take it. FastAPI gets all others, with their whole body, and
refuses them as usual.
"""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.api.route_plans import Plan, plans


class StraightWay:
    """Innermost ASGI middleware. It serves the routes that have a plan."""

    def __init__(self, app: ASGIApp, *, routes: Sequence[BaseRoute]) -> None:
        self._app = app
        self._plans = plans(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        plan = self._plan_for(scope)
        answer = self._app if plan is None else await self._answer(plan, scope, receive)
        # While the answer streams, this frame must not keep the body and the request alive.
        await answer(scope, receive, send)

    async def _answer(self, plan: Plan, scope: Scope, receive: Receive) -> ASGIApp:
        try:
            body = await _body(receive)
            if body is None:
                return self._from_its_beginning(body)
            response = await plan.answer(Request(scope, _again(body, receive)), body)
        except Exception as error:  # of any type: it is raised again if no handler knows it
            refusal = await _refusal(scope, receive, error)
            if refusal is None:
                raise
            return refusal
        return response or self._from_its_beginning(body)

    def _from_its_beginning(self, body: bytes | None) -> ASGIApp:
        async def read_again(scope: Scope, receive: Receive, send: Send) -> None:
            await self._app(scope, _again(body, receive), send)

        return read_again

    def _plan_for(self, scope: Scope) -> Plan | None:
        """Find the plan, and note its route and the parameters of its path in the scope."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope.get("root_path"):
            return None
        for plan in self._plans:
            if found := plan.path.match(scope["path"]):
                scope["route"], scope["path_params"] = plan.route, found.groupdict()
                return plan
        return None


async def _body(receive: Receive) -> bytes | None:
    """Read the whole body; None if the client has left before its end."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _again(body: bytes | None, receive: Receive) -> Receive:
    """Return a `receive` that begins again with the body, or with the client's disconnect."""
    whole: Message = {"type": "http.request", "body": body, "more_body": False}
    messages = [{"type": "http.disconnect"} if body is None else whole]

    async def receive_again() -> Message:
        return messages.pop() if messages else await receive()

    return receive_again


async def _refusal(scope: Scope, receive: Receive, error: Exception) -> Response | None:
    """Answer an error by the application's handler for it; None if it has none."""
    handlers = scope["app"].exception_handlers
    handler = next((handlers[kind] for kind in type(error).__mro__ if kind in handlers), None)
    return handler and await handler(Request(scope, receive), error)
