"""Hides credentials in texts that come from drivers, libraries or the operating system.

Our own lines never contain a secret. A library may quote the URL or key that it was given, or a
piece of it that it took for a host or a port.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from urllib.parse import quote, unquote

HIDDEN = "***"

LEAST_CHARACTERS = 5
"""Shorter pieces are not hidden: they occur in ordinary words, and would blank out the text."""

_DELIMITERS = re.compile(r"[@/?#%:&=,;+\s\[\]]+")
"""Characters at which a parser may cut a secret into pieces."""

_URL = re.compile(r"(?:[\w+]+:/*)?(.*)@.*", re.DOTALL)

_CONFIDENTIAL = re.compile(r"pass|secret|token|key|auth", re.IGNORECASE)
"""Query parameters with these words in their names hold credentials."""

_URL_VARIABLES = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"),
    *("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
)
_HEADER_VARIABLES = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")


def redacted(text: str, secrets: Iterable[str]) -> str:
    """Replace the secrets, their URL-encoded spellings and their pieces by `***`."""
    pieces = {piece for secret in secrets for piece in _pieces(secret)}
    if not pieces:
        return text
    longest_first = sorted(pieces, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, longest_first)), HIDDEN, text)


def secrets_in_url(url: str) -> list[str]:
    """The password and confidential query values of a URL, even of a malformed one.

    A user without a password counts as a secret, because some services take a token there.
    """
    before_host = _URL.fullmatch(url)
    user, _, password = (before_host[1] if before_host else "").partition(":")
    query = [part.partition("=") for part in url.partition("?")[2].split("&")]
    confidential = [value for name, _, value in query if _CONFIDENTIAL.search(name)]
    return [each for each in (password or user, *confidential) if each]


def secrets_of_environment(variables: Mapping[str, str]) -> list[str]:
    """Secrets in proxy and OTLP variables, which libraries read without our settings."""
    urls = [variables.get(name, "") for name in _URL_VARIABLES]
    headers = [variables.get(name, "") for name in _HEADER_VARIABLES]
    values = [part.partition("=")[2] for header in headers for part in header.split(",")]
    return [*(secret for url in urls for secret in secrets_in_url(url)), *headers, *values]


def without_credentials(url: str) -> str:
    """Remove the user and the password from a URL."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def _pieces(secret: str) -> Collection[str]:
    spellings = {secret, unquote(secret), quote(secret), quote(secret, safe="")}
    parts = {part for spelling in spellings for part in _DELIMITERS.split(spelling)}
    return {piece for piece in spellings | parts if len(piece) >= LEAST_CHARACTERS}
