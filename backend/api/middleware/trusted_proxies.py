"""Take the client's address from `X-Forwarded-For` if a trusted proxy sent it."""

from collections.abc import Sequence
from typing import cast

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable
from uvicorn._types import Scope as UvicornScope
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware


class TrustedProxies:
    """uvicorn's middleware with our settings.

    The client is the right-most address that is not a trusted proxy. Applying it again does no
    harm if uvicorn's command line has applied it already.
    """

    def __init__(self, app: ASGIApp, *, addresses: Sequence[str]) -> None:
        everybody = "*" in addresses
        self._app = ProxyHeadersMiddleware(
            cast(ASGI3Application, app), "*" if everybody else list(addresses)
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(
            cast(UvicornScope, scope),
            cast(ASGIReceiveCallable, receive),
            cast(ASGISendCallable, send),
        )
