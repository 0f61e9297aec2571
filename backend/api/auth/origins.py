"""Which page a request comes from, and whether that page may use the browser's cookie.

Browsers send a cookie along with the requests of any page. They also say which page that is, and
no page can change what they say.
"""

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

SAFE_METHODS = ("GET", "HEAD")


class Origins:
    """`allowed` are those of `CORS_ORIGINS`; the service's own is always among them."""

    def __init__(self, allowed: Collection[str]) -> None:
        self._allowed = frozenset(allowed)

    def is_foreign_socket(self, connection: HTTPConnection) -> bool:
        """Whether a WebSocket comes from a page of another origin. CORS does not cover these.

        Every browser sends an `Origin` with one; other clients need not.
        """
        is_socket = connection.scope["type"] == "websocket"
        given = connection.headers.getlist("origin")
        return is_socket and bool(given) and not self._allow(given, connection)

    def may_use_cookie(self, connection: HTTPConnection) -> bool:
        """Browsers leave `Origin` out where a page gets from its own origin, and only there.

        Then `Sec-Fetch-Site` says so. It is missing on plain http, and in old browsers; there
        `Referer` must name the page. A typed or clicked address has neither, and gets no cookie.
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
    """Where we are reached. Behind a proxy that does not say so, https looks like http."""
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
