"""Requests that ask to change the protocol: which of them are handshakes of a WebSocket, and how
the others are read.

A server may ignore an upgrade and answer the request as if none had been asked for (RFC 9110,
section 7.8). httptools cannot: it ends such a request with its head, and leaves the body to the
other protocol. So the parser here reads the head once more without the upgrade, and then the body.
"""

from collections.abc import Iterable
from typing import Protocol

import httptools

Headers = Iterable[tuple[bytes, bytes]]
"""Names in lower case, as ASGI has them."""


def is_websocket_handshake(method: bytes, version: str, headers: Headers) -> bool:
    """Whether the WebSocket protocol may take this request (RFC 6455, section 4.1). One with a body
    is none: its body would be read as frames.
    """
    return (
        (method, version) == (b"GET", "1.1")
        and b"websocket" in tokens(headers, b"upgrade")
        and any(name.startswith(b"sec-websocket-") for name, _ in headers)
        and not _has_body(headers)
    )


def tokens(headers: Headers, name: bytes) -> list[bytes]:
    """The elements of a header that is a list, in lower case, in however many lines it came."""
    values = [value for each, value in headers if each == name]
    return [token.strip().lower() for value in values for token in value.split(b",")]


def with_websocket_alone(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The headers of a handshake that offered several protocols."""
    return [*without_upgrade(headers), (b"upgrade", b"websocket")]


def without_upgrade(headers: Headers) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in headers if name != b"upgrade"]


def _has_body(headers: Headers) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
        for name, value in headers
    )


class Reader(Protocol):
    """Hears of a request by httptools' callbacks. While `should_upgrade` is true it must leave the
    request alone unless it takes the upgrade.
    """

    @property
    def takes_upgrade(self) -> bool: ...

    url: bytes
    headers: list[tuple[bytes, bytes]]


class RequestParser:
    """httptools' parser, as far as uvicorn calls it."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._parser = _parser(reader)

    def feed_data(self, data: bytes) -> None:
        """Raises: HttpParserError, and HttpParserUpgrade for an upgrade that is taken."""
        rest = memoryview(data)
        while True:
            try:
                self._parser.feed_data(rest)
                return
            except httptools.HttpParserUpgrade as upgrade:
                if self._reader.takes_upgrade:
                    raise
                rest = rest[upgrade.args[0] :]
                self._begin_again()

    def _begin_again(self) -> None:
        head = self._head_without_upgrade()
        self._parser = _parser(self._reader)
        self._parser.feed_data(head)

    def _head_without_upgrade(self) -> bytes:
        version = self.get_http_version().encode()
        line = b"%b %b HTTP/%b" % (self.get_method(), self._reader.url, version)
        headers = without_upgrade(self._reader.headers)
        return b"\r\n".join([line, *(b"%b: %b" % header for header in headers), b"", b""])

    def get_method(self) -> bytes:
        return self._parser.get_method()

    def get_http_version(self) -> str:
        return self._parser.get_http_version()

    def should_keep_alive(self) -> bool:
        return self._parser.should_keep_alive()

    def should_upgrade(self) -> bool:
        return self._parser.should_upgrade()


def _parser(reader: Reader) -> httptools.HttpRequestParser:
    parser = httptools.HttpRequestParser(reader)
    # As uvicorn has it: whoever asked to close may have sent more, which is passed over.
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser
