"""Requests with `Upgrade`: WebSocket handshakes, and those that are answered as plain HTTP.

A server may ignore an upgrade and answer as if the client had not asked for it (RFC 9110, section
7.8). httptools cannot: it ends the request after its head and leaves the body to the new protocol.
So `RequestParser` parses the head again without the upgrade, and then the body.
"""

from collections.abc import Iterable
from typing import Protocol

import httptools

Headers = Iterable[tuple[bytes, bytes]]
"""Names in lower case, as ASGI has them."""


def is_websocket_handshake(method: bytes, version: str, headers: Headers) -> bool:
    """Whether this request may become a WebSocket (RFC 6455, section 4.1).

    A request with a body may not: the body would be read as frames.
    """
    return (
        (method, version) == (b"GET", "1.1")
        and b"websocket" in tokens(headers, b"upgrade")
        and any(name.startswith(b"sec-websocket-") for name, _ in headers)
        and not _has_body(headers)
    )


def tokens(headers: Headers, name: bytes) -> list[bytes]:
    """The elements of a list header in lower case, even if it was sent in several lines."""
    values = [value for each, value in headers if each == name]
    return [token.strip().lower() for value in values for token in value.split(b",")]


def with_websocket_alone(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Reduce the protocols that a handshake offers to `websocket`."""
    return [*without_upgrade(headers), (b"upgrade", b"websocket")]


def without_upgrade(headers: Headers) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in headers if name != b"upgrade"]


def _has_body(headers: Headers) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
        for name, value in headers
    )


class Reader(Protocol):
    """The receiver of httptools' callbacks.

    While the parser's `should_upgrade()` is true and `takes_upgrade` is false, it must ignore the
    callbacks for the end of the head and of the message: the head is about to be parsed again.
    """

    @property
    def takes_upgrade(self) -> bool: ...

    url: bytes
    headers: list[tuple[bytes, bytes]]


class RequestParser:
    """httptools' parser with the methods that uvicorn calls, which ignores refused upgrades."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._parser = _parser(reader)

    def feed_data(self, data: bytes) -> None:
        """Parse more bytes.

        Raises:
            HttpParserError: the request is malformed.
            HttpParserUpgrade: the reader takes the upgrade. The first argument is the offset of
                the first byte after the head.
        """
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
    # Like uvicorn's own parser: ignore bytes that follow a request with `Connection: close`.
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser
