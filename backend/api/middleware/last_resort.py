"""A defect of ours before the response began is a problem like any other."""

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.api.problem_details import problem
from backend.domain.errors import ServiceError

logger = structlog.get_logger()


class LastResort:
    """Plain ASGI. Starlette's own handler for defects stands outside of all middleware, and its
    answers lack the headers that these add.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def send_noticed(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, send_noticed)
        except Exception as error:
            if scope["type"] != "http" or has_begun:
                raise
            logger.exception("request_broke", error=type(error).__name__)
            answer = problem(500, code=ServiceError.code, detail=ServiceError.message)
            await answer(scope, receive, send)
