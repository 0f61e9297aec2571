"""Checks of URLs that may contain a password, so that no error message quotes a part of it.

If a password contains a character with a meaning in URLs, a parser takes a part of it for the
host, the port or the path, and quotes that part in its errors. So URLs are checked before any
library parses them.
"""

import re
from collections.abc import Mapping

HOST = r"(?:[\w.-]+|\[[0-9A-Fa-f:.]+(?:%\w+)?\])"
_PORT = r"(?::(?P<port>\d{0,5}))?"

_UPSTREAM = re.compile(rf"https?://(?:[^/?#\\\s]*@)?{HOST}{_PORT}/?")
_PAGE = re.compile(rf"https?://(?:[^/?#\\\s]*@)?{HOST}{_PORT}(?:[/?][^\s#]*)?")
_ADDRESS = re.compile(rf"(?:\w+://)?(?:[^/?#\\\s]*@)?{HOST}?{_PORT}(?:/[^@\s]*)?")

CONTROL = re.compile(r"[\x00-\x1f\x7f]")

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
COLLECTORS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

ENCODE = "in a password, write @ as %40, / as %2F, ? as %3F, # as %23, : as %3A, % as %25"


def is_upstream(url: str) -> bool:
    """Whether this is an http(s) URL without a path; a port, a user and a password are allowed."""
    return _fits(_UPSTREAM, url)


def is_page(url: str) -> bool:
    return _fits(_PAGE, url)


def unusable_address(variables: Mapping[str, str]) -> str | None:
    """The first proxy or collector variable that is malformed, or None.

    Only libraries read these variables, and their errors would quote the password.
    """
    names = (*PROXIES, *COLLECTORS)
    return next((name for name in names if not _fits(_ADDRESS, variables.get(name, ""))), None)


def _fits(shape: re.Pattern[str], url: str) -> bool:
    found = None if CONTROL.search(url) else shape.fullmatch(url)
    port = found and found.groupdict().get("port")
    return found is not None and (not port or 0 < int(port) <= 65_535)
