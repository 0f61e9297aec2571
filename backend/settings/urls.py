"""URLs that may have a password in them, and no message that repeats a piece of it.

A password with a character that has a meaning in URLs moves parts of itself into the host, the
port or the path, from where every error message quotes them. So these are looked at first.
"""

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

_HOST = r"(?:[\w.-]+|\[[0-9A-Fa-f:.]+(?:%\w+)?\])"
_PORT = r"(?::(?P<port>\d{0,5}))?"

_UPSTREAM = re.compile(rf"https?://(?:[^/?#\\\s]*@)?{_HOST}{_PORT}/?")
_PAGE = re.compile(rf"https?://(?:[^/?#\\\s]*@)?{_HOST}{_PORT}(?:[/?][^\s#]*)?")
_REDIS = re.compile(rf"rediss?://(?:[^/?#\[\]\\]*@)?{_HOST}?{_PORT}(?:/\d*)?(?:\?[^\s#]*)?")
_REDIS_SOCKET = re.compile(r"unix://(?:[^/?#\[\]\\]*@)?/[^@?#\s]+(?:\?[^\s#]*)?")
_ADDRESS = re.compile(rf"(?:\w+://)?(?:[^/?#\\\s]*@)?{_HOST}?{_PORT}(?:/[^@\s]*)?")

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
COLLECTORS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

ENCODE = "in a password, write @ as %40, / as %2F, ? as %3F, # as %23, : as %3A, % as %25"


def is_upstream(url: str) -> bool:
    """A host alone, with its port and a user if need be."""
    return _fits(_UPSTREAM, url)


def is_page(url: str) -> bool:
    return _fits(_PAGE, url)


def is_redis(url: str) -> bool:
    return (_fits(_REDIS, url) or _fits(_REDIS_SOCKET, url)) and _can_be_split(url)


def unusable_address(variables: Mapping[str, str]) -> str | None:
    """The name of a proxy or collector that the libraries which ask it could not read."""
    names = (*PROXIES, *COLLECTORS)
    return next((name for name in names if not _fits(_ADDRESS, variables.get(name, ""))), None)


def _fits(shape: re.Pattern[str], url: str) -> bool:
    found = None if _CONTROL.search(url) else shape.fullmatch(url)
    port = found and found.groupdict().get("port")
    return found is not None and (not port or 0 < int(port) <= 65_535)


def _can_be_split(url: str) -> bool:
    """Python refuses characters that become a `/` or an `@` when they are normalised."""
    try:
        urlsplit(url)
    except ValueError:
        return False
    return True
