"""Answer unexpected exceptions with problem details, if no response has started."""

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.api.problem_details import problem
from backend.domain.errors import ServiceError

logger = structlog.get_logger()


class LastResort:
    """Answers 500. Starlette's own handler runs outside all middleware, so its answers would lack
    the headers that they add.
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
        except Exception as error:  # of any type: the client must get an answer
            if scope["type"] != "http" or has_begun:
                raise
            logger.exception("request_broke", error=type(error).__name__)
            answer = problem(500, code=ServiceError.code, detail=ServiceError.message)
            await answer(scope, receive, send)
