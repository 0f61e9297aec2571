"""Check which page a request comes from, and whether that page may use the browser's cookie.

Browsers send cookies with requests from any page. They also send the page's origin, in headers that
a page cannot forge.
"""

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

SAFE_METHODS = ("GET", "HEAD")


class Origins:
    """The allowed origins: those of `CORS_ORIGINS`, and always the service's own."""

    def __init__(self, allowed: Collection[str]) -> None:
        self._allowed = frozenset(allowed)

    def is_foreign_socket(self, connection: HTTPConnection) -> bool:
        """Whether this is a WebSocket from a page of another origin, which CORS does not prevent.

        Browsers always send `Origin` with a WebSocket. Clients without it are not browsers.
        """
        is_socket = connection.scope["type"] == "websocket"
        given = connection.headers.getlist("origin")
        return is_socket and bool(given) and not self._allow(given, connection)

    def may_use_cookie(self, connection: HTTPConnection) -> bool:
        """Whether the request comes from an allowed origin.

        Browsers omit `Origin` when a page sends a GET to its own origin. `Sec-Fetch-Site` then
        confirms it. Plain HTTP and old browsers lack that header, so `Referer` must name the page.
        A URL that a person types or clicks has neither, and may not use the cookie.
        """
        headers = connection.headers
        if given := headers.getlist("origin"):
            return self._allow(given, connection)
        if connection.scope.get("method") not in SAFE_METHODS:
            return False
        if site := headers.getlist("sec-fetch-site"):
            return site == ["same-origin"]
        return self._allow([_origin(each) for each in headers.getlist("referer")], connection)

    def _allow(self, given: list[str], connection: HTTPConnection) -> bool:
        if len(given) != 1:
            return False
        (origin,) = given
        return origin in _own(connection) or origin in self._allowed or "*" in self._allowed


def _own(connection: HTTPConnection) -> tuple[str, ...]:
    """A plain request may have either scheme: a proxy may hide that the client used HTTPS."""
    host = connection.headers.get("host")
    if not host:
        return ()
    if is_secure(connection):
        return (f"https://{host}",)
    return (f"https://{host}", f"http://{host}")


def is_secure(connection: HTTPConnection) -> bool:
    return connection.scope["scheme"] in ("https", "wss")


def _origin(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc}"
