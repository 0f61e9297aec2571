"""Keeps credentials out of texts that others word: drivers, libraries, the operating system.

Our own lines never name a secret. A library that fails may quote what it was given, whole or a
piece of it that it took for a host or a port.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from urllib.parse import quote, unquote

HIDDEN = "***"

LEAST_CHARACTERS = 5
"""Shorter pieces are parts of ordinary words, and a text without these could not be read."""

_DELIMITERS = re.compile(r"[@/?#%:&=,;+\s\[\]]+")
"""Between these a parser may cut a secret."""

_URL = re.compile(r"(?:[\w+]+:/*)?(.*)@.*", re.DOTALL)

_CONFIDENTIAL = re.compile(r"pass|secret|token|key|auth", re.IGNORECASE)
"""In the name of a query parameter."""

_URL_VARIABLES = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"),
    *("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
)
_HEADER_VARIABLES = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")


def redacted(text: str, secrets: Iterable[str]) -> str:
    """The text without the secrets, without their spellings in a URL and without their parts."""
    pieces = {piece for secret in secrets for piece in _pieces(secret)}
    if not pieces:
        return text
    longest_first = sorted(pieces, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, longest_first)), HIDDEN, text)


def secrets_in_url(url: str) -> list[str]:
    """The password, or all that may be one, of a URL that need not be well-formed."""
    before_host = _URL.fullmatch(url)
    user, _, password = (before_host[1] if before_host else "").partition(":")
    query = [part.partition("=") for part in url.partition("?")[2].split("&")]
    confidential = [value for name, _, value in query if _CONFIDENTIAL.search(name)]
    return [each for each in (password or user, *confidential) if each]


def secrets_of_environment(variables: Mapping[str, str]) -> list[str]:
    """Those of the variables that libraries read by themselves."""
    urls = [variables.get(name, "") for name in _URL_VARIABLES]
    headers = [variables.get(name, "") for name in _HEADER_VARIABLES]
    values = [part.partition("=")[2] for header in headers for part in header.split(",")]
    return [*(secret for url in urls for secret in secrets_in_url(url)), *headers, *values]


def without_credentials(url: str) -> str:
    """A URL for people: scheme, host and port, and what is behind them."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def _pieces(secret: str) -> Collection[str]:
    spellings = {secret, unquote(secret), quote(secret), quote(secret, safe="")}
    parts = {part for spelling in spellings for part in _DELIMITERS.split(spelling)}
    return {piece for piece in spellings | parts if len(piece) >= LEAST_CHARACTERS}
