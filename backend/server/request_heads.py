"""Refuses heads that leave it unclear where the request ends, or which host it is for."""

import re
from http import HTTPStatus

from backend.server.upgrades import Headers, tokens

VERSIONS = ("1.0", "1.1")


def fault_of(method: bytes, version: str, headers: Headers) -> HTTPStatus | None:
    """With which status the request is refused. Its connection has to be closed, then."""
    if version not in VERSIONS:
        return HTTPStatus.HTTP_VERSION_NOT_SUPPORTED
    if method == b"CONNECT":
        # The bytes behind it would belong to a tunnel, and to no request.
        return HTTPStatus.BAD_REQUEST
    hosts = sum(name == b"host" for name, _ in headers)
    if hosts > 1 or (hosts == 0 and version == "1.1"):
        return HTTPStatus.BAD_REQUEST
    return _coding_fault(version, tokens(headers, b"transfer-encoding"))


def with_host_of(url: bytes, headers: Headers) -> list[tuple[bytes, bytes]]:
    """An address that is written out is that of the request, whatever `Host` says (RFC 9112,
    section 3.2.2).
    """
    _, has_scheme, rest = url.partition(b"://")
    authority = re.split(rb"[/?#]", rest, maxsplit=1)[0].rpartition(b"@")[2]
    if not has_scheme or not authority:
        return list(headers)
    return [(b"host", authority), *((name, value) for name, value in headers if name != b"host")]


def _coding_fault(version: str, codings: list[bytes]) -> HTTPStatus | None:
    """RFC 9112, sections 6.1 and 6.3: a coding that is not known is 501, but without one `chunked`
    at the end, or in HTTP/1.0, nobody knows where the body ends.
    """
    if not codings or (version == "1.1" and codings == [b"chunked"]):
        return None
    *inner, last = codings
    is_measured = version == "1.1" and last == b"chunked" and all(inner) and b"chunked" not in inner
    return HTTPStatus.NOT_IMPLEMENTED if is_measured else HTTPStatus.BAD_REQUEST
