"""Add security headers to every response, and refuse paths with encoded slashes.

`Strict-Transport-Security` is left to the proxy that terminates TLS: this service cannot know
whether everything else on its host supports TLS.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.api.problem_details import problem

ENCODED_SLASHES = (b"%2f", b"%5c")

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Pages replace this. All other responses are data, and load nothing.
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
"""Defaults: headers that a route sets itself are kept."""

# Encoded once, because `MutableHeaders.setdefault` encodes and searches for each of them again.
_ENCODED = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]


def page_policy(**sources: str) -> dict[str, str]:
    """Return the policy of a page that loads from its own host only, without inline code or style.

    `sources` replaces the sources of single directives, for example `script`.
    """
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
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = list(message["headers"])
                names = {name for name, _ in own}
                missing = [header for header in _ENCODED if header[0] not in names]
                message["headers"] = own + missing
            await send(message)

        app = _not_found if _has_encoded_slash(scope) else self._app
        await app(scope, receive, send_with_headers)


def _has_encoded_slash(scope: Scope) -> bool:
    """Whether decoding the path would add segments that a proxy in front has not seen."""
    path = scope["raw_path"].lower()
    return any(slash in path for slash in ENCODED_SLASHES)


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    await problem(404, code="not_found", detail="Not Found")(scope, receive, send)
