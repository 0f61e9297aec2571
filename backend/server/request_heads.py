"""Refuses request heads that are ambiguous about the end of the body or about the host.

A proxy may read this head differently, which is how request smuggling works.
"""

import re
from http import HTTPStatus

from backend.server.upgrades import Headers, tokens

VERSIONS = ("1.0", "1.1")


def fault_of(method: bytes, version: str, headers: Headers) -> HTTPStatus | None:
    """The status that refuses the request, or None. The caller must then close the connection."""
    if version not in VERSIONS:
        return HTTPStatus.HTTP_VERSION_NOT_SUPPORTED
    if method == b"CONNECT":
        # The bytes after it would belong to a tunnel instead of a request.
        return HTTPStatus.BAD_REQUEST
    hosts = sum(name == b"host" for name, _ in headers)
    if hosts > 1 or (hosts == 0 and version == "1.1"):
        return HTTPStatus.BAD_REQUEST
    return _coding_fault(version, tokens(headers, b"transfer-encoding"))


def with_host_of(url: bytes, headers: Headers) -> list[tuple[bytes, bytes]]:
    """Take `Host` from an absolute request URL, which overrides the header (RFC 9112, 3.2.2)."""
    _, has_scheme, rest = url.partition(b"://")
    authority = re.split(rb"[/?#]", rest, maxsplit=1)[0].rpartition(b"@")[2]
    if not has_scheme or not authority:
        return list(headers)
    return [(b"host", authority), *((name, value) for name, value in headers if name != b"host")]


def _coding_fault(version: str, codings: list[bytes]) -> HTTPStatus | None:
    """Check `Transfer-Encoding` (RFC 9112, sections 6.1 and 6.3).

    An unknown coding before a final `chunked` gets 501. Without exactly one `chunked`, at the end,
    or in HTTP/1.0, the end of the body is unknown: 400.
    """
    if not codings or (version == "1.1" and codings == [b"chunked"]):
        return None
    *inner, last = codings
    is_measured = version == "1.1" and last == b"chunked" and all(inner) and b"chunked" not in inner
    return HTTPStatus.NOT_IMPLEMENTED if is_measured else HTTPStatus.BAD_REQUEST
