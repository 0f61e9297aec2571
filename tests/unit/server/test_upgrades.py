"""Recognises WebSocket handshakes, and answers other upgrade requests as plain HTTP."""

import pytest

from backend.server.upgrades import (
    RequestParser,
    is_websocket_handshake,
    tokens,
    with_websocket_alone,
)

UPGRADE = (b"upgrade", b"websocket")
CONNECTION = (b"connection", b"Upgrade")
KEY = (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ==")
VERSION = (b"sec-websocket-version", b"13")
HANDSHAKE = [CONNECTION, UPGRADE, KEY, VERSION]


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(HANDSHAKE, id="as browsers send it"),
        pytest.param([*HANDSHAKE, (b"content-length", b"0")], id="with a body of nothing"),
        pytest.param([CONNECTION, (b"upgrade", b"WebSocket"), KEY, VERSION], id="in capitals"),
        pytest.param([CONNECTION, (b"upgrade", b"h2c, websocket"), KEY], id="in a list"),
        pytest.param([CONNECTION, (b"upgrade", b"h2c"), UPGRADE, KEY], id="in two lines"),
        pytest.param([CONNECTION, UPGRADE, VERSION], id="without a key, to be told so"),
    ],
)
def test_a_handshake_is_taken(headers: list[tuple[bytes, bytes]]) -> None:
    assert is_websocket_handshake(b"GET", "1.1", headers)


@pytest.mark.parametrize(
    ("method", "version", "headers"),
    [
        pytest.param(b"POST", "1.1", HANDSHAKE, id="by POST"),
        pytest.param(b"HEAD", "1.1", HANDSHAKE, id="by HEAD"),
        pytest.param(b"GET", "1.0", HANDSHAKE, id="of HTTP/1.0"),
        pytest.param(b"GET", "1.1", [CONNECTION, UPGRADE], id="without its own headers"),
        pytest.param(b"GET", "1.1", [*HANDSHAKE, (b"content-length", b"5")], id="with a body"),
        pytest.param(
            b"GET", "1.1", [*HANDSHAKE, (b"transfer-encoding", b"chunked")], id="in chunks"
        ),
        pytest.param(b"GET", "1.1", [(b"upgrade", b"h2c"), KEY, VERSION], id="of HTTP/2"),
        pytest.param(b"GET", "1.1", [(b"upgrade", b"xwebsocket"), KEY], id="of something alike"),
    ],
)
def test_what_is_no_handshake_is_an_ordinary_request(
    method: bytes, version: str, headers: list[tuple[bytes, bytes]]
) -> None:
    assert not is_websocket_handshake(method, version, headers)


def test_a_list_may_come_in_several_lines() -> None:
    headers = [(b"connection", b"Keep-Alive, Upgrade"), (b"x", b"y"), (b"connection", b"TE")]

    assert tokens(headers, b"connection") == [b"keep-alive", b"upgrade", b"te"]


def test_of_several_protocols_the_websocket_is_left() -> None:
    offered = [CONNECTION, (b"upgrade", b"h2c, WebSocket"), (b"upgrade", b"TLS/1.0"), KEY]

    assert with_websocket_alone(offered) == [CONNECTION, KEY, UPGRADE]


class Recording:
    """Takes no upgrade, and records each request's method and URL, headers and body."""

    takes_upgrade = False

    def __init__(self) -> None:
        self.requests: list[tuple[bytes, list[tuple[bytes, bytes]], bytes]] = []
        self.parser = RequestParser(self)

    def on_message_begin(self) -> None:
        self.url, self.body = b"", b""
        self.headers: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            line = self.parser.get_method() + b" " + self.url
            self.requests.append((line, self.headers, self.body))


FIRST = (
    b"POST /one?a=b HTTP/1.1\r\nHost: lex\r\nConnection: Upgrade\r\nX-Name: \xe9 b\r\n"
    b"Upgrade: h2c\r\nContent-Length: 27\r\n\r\nGET /inner HTTP/1.1\r\nA: b\r\n"
)
SECOND = (
    b"PUT /two HTTP/1.1\r\nHost: lex\r\nUpgrade: a, b\r\nConnection: close, upgrade\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n"
)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
def test_requests_are_read_to_their_ends_wherever_they_are_cut(size: int) -> None:
    reader = Recording()
    sent = FIRST * 2 + SECOND

    for place in range(0, len(sent), size):
        reader.parser.feed_data(sent[place : place + size])

    lines = [line for line, _, _ in reader.requests]
    bodies = [body for _, _, body in reader.requests]
    assert lines == [b"POST /one?a=b", b"POST /one?a=b", b"PUT /two"]
    assert bodies == [FIRST[-27:], FIRST[-27:], b"one"]
    assert reader.requests[0][1] == [
        (b"host", b"lex"),
        (b"connection", b"Upgrade"),
        (b"x-name", b"\xe9 b"),
        (b"content-length", b"27"),
    ]
