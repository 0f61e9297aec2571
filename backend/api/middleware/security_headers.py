"""The headers by which every answer protects a browser, and a path that no route may see.

`Strict-Transport-Security` is left to the proxy at which TLS ends: this service cannot know
whether the rest of the host is ready for it.
"""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.api.problem_details import problem

ENCODED_SLASHES = (b"%2f", b"%5c")

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    # A page says what it loads; everything else is data, and loads nothing.
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
"""Unless a route says otherwise."""


def page_policy(**sources: str) -> dict[str, str]:
    """The header of a page that loads from its own host alone, and has no code or style inline."""
    kinds = {
        "default": "'none'",
        "script": "'self'",
        "style": "'self'",
        "img": "'self'",
        "connect": "'self'",
        **sources,
    }
    loaded = "; ".join(f"{kind}-src {source}" for kind, source in kinds.items())
    bounds = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    return {"Content-Security-Policy": f"{loaded}; {bounds}"}


class SecurityHeaders:
    """Plain ASGI."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        app = _not_found if _has_encoded_slash(scope) else self._app
        await app(scope, receive, send_with_headers)


def _has_encoded_slash(scope: Scope) -> bool:
    """Decoded it would divide the path in another way than a proxy saw it."""
    path = scope["raw_path"].lower()
    return any(slash in path for slash in ENCODED_SLASHES)


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    await problem(404, code="not_found", detail="Not Found")(scope, receive, send)
