"""The server's connections: uvicorn's protocols with limits against hostile clients.

uvicorn reads a request head of any length for any time. Here both are limited, before the
application sees the request. `api/middleware/body_limit.py` limits the body.
"""

import asyncio
import json
import logging
import socket
import struct
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, ClassVar, cast

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from backend.network.reason_phrases import phrase_of
from backend.server.http10 import CloseDelimited
from backend.server.request_heads import fault_of, with_host_of
from backend.server.upgrades import RequestParser, is_websocket_handshake, with_websocket_alone

logger = structlog.get_logger()

MAX_URL_BYTES = 16_384
"""Twice the limit of `GET /query`, whose own refusal a browser's `EventSource` can read."""

MAX_HEAD_BYTES = 32_768
MAX_HEADERS = 100

NO_ROOM = (
    "This server has no room for another connection at the moment. Try again in a few seconds."
)

DETAILS = {
    HTTPStatus.BAD_REQUEST: "The request is malformed, or its host or length is ambiguous.",
    HTTPStatus.REQUEST_TIMEOUT: "The request took too long to arrive.",
    HTTPStatus.REQUEST_URI_TOO_LONG: "The URL of the request is too long.",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "The request has too many or too large headers.",
    HTTPStatus.NOT_IMPLEMENTED: "The body has a transfer coding other than `chunked`.",
    HTTPStatus.HTTP_VERSION_NOT_SUPPORTED: "The request is neither HTTP/1.1 nor HTTP/1.0.",
    HTTPStatus.SERVICE_UNAVAILABLE: NO_ROOM,
}
"""The texts of the refusals, by status."""

MAX_OVERFLOW = 48
"""Connections beyond the limit that are kept open to be answered with 503, or to let probes
through. `file_descriptors.RESERVED` is larger, because a connection keeps its descriptor for a
moment after it was turned away."""

MAX_FRAGMENTS = 1024
"""Fragments of one WebSocket message. Without a limit, empty ones could go on forever: they add
nothing to the size of the message."""


class HttpConnection(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 connection with limits, and with ASGI extensions for the application.

    `scope["extensions"]["lex.cut"]["cut"]()` closes the connection at once and discards what the
    client has not read. `["has_stalled"]` is set there if the kernel did so, because the client
    stopped reading. `scope["extensions"]["lex.body"]["send"]` sends the body of a response that
    has begun, past all middleware that wraps `send`. With
    `scope["extensions"]["lex.leaving"]["notify"](call)`, the handler learns that its client left
    without a task that waits in `receive`.

    uvicorn assumes that the latest request is the one being answered. If requests are pipelined,
    the handler of an earlier one would never learn that the client left. `_answering` fixes this.
    """

    head_seconds: ClassVar[float] = 10
    """The limit from the first byte of a request to the end of its head."""

    arriving_seconds: ClassVar[float] = 2
    """The limit for a request that may be on its way when the server starts to leave."""

    rest_seconds: ClassVar[float] = 5
    """The limit for the rest of a body whose request is already answered."""

    _answering: RequestResponseCycle | None = None
    """The request that is being answered, or was answered last."""

    _has_begun = False
    """Whether a head is incomplete: its first bytes were read, its end was not."""

    _is_leaving = False
    """Whether the server leaves and waits for a request that may be on its way."""

    _in_body = False
    _head_bytes = 0
    _framing_bytes = 0
    """Bytes around a body: chunk sizes and trailers."""

    _refusal = HTTPStatus.BAD_REQUEST
    """The status for a request that cannot be parsed any further."""

    _timer: asyncio.TimerHandle | None = None

    _when_left: Callable[[], None] | None = None
    """Called when the client leaves before the response is complete."""

    overflow_seconds: ClassVar[float] = 2
    """The limit for the head of a request on an overflow connection: descriptors are scarce."""

    overflow_since: float | None = None
    """When this connection came, by the loop's clock; None if it is no overflow connection."""

    takes_upgrade = False
    """Whether the request is a WebSocket handshake and no earlier request awaits its response."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.parser = cast(Any, RequestParser(self))

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # uvicorn would start this timer only after the first response.
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )
        config = self.app_state.get("config")
        if config is not None and len(self.connections) > config.max_connections:
            self._join_overflow()

    def _join_overflow(self) -> None:
        """Mark this connection as overflow. With too many, turn the oldest silent one away."""
        self.overflow_since = self.loop.time()
        self._start_timer(self.overflow_seconds, self._cut_slow_head)
        overflow = [each for each in self.connections if isinstance(each, HttpConnection)]
        overflow = [each for each in overflow if each.is_overflow]
        if len(overflow) > MAX_OVERFLOW:
            # Never empty: this connection has had no request yet.
            silent = [each for each in overflow if each.is_unasked]
            min(silent, key=lambda each: each.overflow_since or 0).turn_away()

    @property
    def is_overflow(self) -> bool:
        """Whether it came while the server was full. Only probes get an answer other than 503."""
        return self.overflow_since is not None and not self.transport.is_closing()

    @property
    def is_unasked(self) -> bool:
        """Whether no request has arrived on this connection."""
        return self._answering is None

    def turn_away(self) -> None:
        """Answer 503 and close, without waiting for a request."""
        self._stop_timer()
        self.transport.write(refusal(HTTPStatus.SERVICE_UNAVAILABLE))
        self.transport.close()

    def data_received(self, data: bytes) -> None:
        begun, in_body, request = self._has_begun, self._in_body, self.scope
        super().data_received(data)
        if self.transport.is_closing() or self.transport.get_protocol() is not self:
            return
        if request is self.scope:
            # No new request has begun, so all these bytes belong to the same head or body. They
            # are counted here because `on_header` is not called for a header that does not end.
            self._head_bytes += len(data) if begun and self._has_begun else 0
            self._framing_bytes += len(data) if in_body and self._in_body else 0
        if max(self._head_bytes, self._framing_bytes) > MAX_HEAD_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif self._timer is None and not self._in_body and (self._has_begun or self._is_idle):
            self._start_timer(self.head_seconds, self._cut_slow_head)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        _let_cut(self.scope, self._cut)
        self.scope["extensions"]["lex.body"] = {"send": self._send_body}
        self.scope["extensions"]["lex.leaving"] = {"notify": self._notify_of_leaving}
        if self.is_overflow:
            self.scope["extensions"]["lex.overflow"] = {}
        self._has_begun, self._head_bytes, self._framing_bytes = True, 0, 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > MAX_URL_BYTES:
            self._break_off(HTTPStatus.REQUEST_URI_TOO_LONG)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_body:
            # A trailer. It is ignored: the client was identified by the headers before the body.
            return
        super().on_header(name, value)
        self._head_bytes += len(name) + len(value) + len(": \r\n")
        if self._head_bytes > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS:
            self._break_off(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_headers_complete(self) -> None:
        self._stop_timer()
        request = self.parser.get_method(), self.parser.get_http_version(), self.headers
        if (fault := fault_of(*request)) is not None:
            self._break_off(fault)
        is_handshake = is_websocket_handshake(*request)
        self.takes_upgrade = self._is_idle and is_handshake and not self.is_overflow
        if self.parser.should_upgrade() and not self.takes_upgrade:
            return  # `RequestParser` will parse the head again, without the upgrade
        self._has_begun, self._in_body, self._head_bytes = False, True, 0
        if not self.url.startswith(b"/"):
            self.headers[:] = with_host_of(self.url, self.headers)
        if request[1] == "1.0":
            self._read_as_old()
        super().on_headers_complete()
        if self.is_overflow:
            # Close after the response, no matter which layer sends it.
            self.cycle.keep_alive = False
        if len(self.pipeline) == 1:
            # uvicorn pauses reading while a request is pipelined, and a close is only noticed
            # while reading. With more than one pipelined request, reading stays paused to save
            # memory; the close is then noticed when a write fails.
            self.flow.resume_reading()

    def _read_as_old(self) -> None:
        """HTTP/1.0 has no `100 Continue`, and its responses must all pass `CloseDelimited`."""
        self.expect_100_continue = False
        del self.scope["extensions"]["lex.body"]

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        # A chunk of one byte takes five bytes of framing (`1\r\n`, `\r\n`). So small chunks are
        # allowed: each byte of content makes up for eight bytes of framing.
        self._framing_bytes = max(0, self._framing_bytes - 8 * len(body))

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._stop_timer()
        self._in_body = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self._when_left = None
        is_last = self._answering is self.cycle
        if is_last and self._in_body and self.expect_100_continue:
            # The client waits for `100 Continue`, which was never sent. It may or may not send
            # the body after the response, so the next bytes would be ambiguous.
            self.transport.close()
        super().on_response_complete()
        if is_last and self._in_body and not self.transport.is_closing():
            self._start_timer(self.rest_seconds, self.transport.close)

    def shutdown(self) -> None:
        """Close the connection if it is idle, or as soon as its response is complete.

        uvicorn would also close at once if a client has just connected, or has sent half a head.
        Here that client has `arriving_seconds` to send its request.
        """
        if not self._is_idle or (self._answering is not None and not self._has_begun):
            super().shutdown()
        elif not self._is_leaving:
            self._is_leaving = True
            self._start_timer(self.arriving_seconds, self._cut_slow_head)

    def handle_websocket_upgrade(self) -> None:
        self._stop_timer()
        self.headers[:] = with_websocket_alone(self.headers)
        super().handle_websocket_upgrade()

    def _should_upgrade(self) -> bool:
        return self.takes_upgrade

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        """Refuse the request. uvicorn calls this whenever the parser fails."""
        self._refuse(self._refusal)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        if (cycle := self._disconnect()) and isinstance(exc, TimeoutError):
            logger.warning("slow_client", route=getattr(cycle.scope.get("route"), "path", None))
            cast(dict[str, Any], cycle.scope)["extensions"]["lex.cut"]["has_stalled"] = True
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        if cycle.scope["http_version"] == "1.0":
            app = CloseDelimited(app, cycle)
        super()._start_asgi_task(cycle, app)

    def _send_body(self, message: Any) -> Coroutine[Any, Any, None]:
        # Pipelined requests are answered in order, so `_answering` is the request of this body.
        return cast(RequestResponseCycle, self._answering).send(message)

    def _notify_of_leaving(self, call: Callable[[], None]) -> bool:
        """Call once when the client leaves. Return False if `receive` must tell it.

        It must if the body is not read to its end: until then uvicorn may pause reading, and a
        close is only noticed while reading.
        """
        cycle = cast(RequestResponseCycle, self._answering)
        if cycle.more_body or cycle.body:
            return False
        if cycle.disconnected:
            call()
        else:
            self._when_left = call
        return True

    @property
    def _is_idle(self) -> bool:
        return self._answering is None or self._answering.response_complete

    def _cut_slow_head(self) -> None:
        self._timer = None
        if not self._is_idle:  # the client reads a response while it sends its next request
            self._start_timer(self.head_seconds, self._cut_slow_head)
        elif self._has_begun:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        else:
            self.transport.close()

    def _start_timer(self, seconds: float, then: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, then)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _break_off(self, status: HTTPStatus) -> None:
        """Stop the parser from within one of its callbacks; `send_400_response` then refuses."""
        self._refusal = status
        raise ValueError(phrase_of(status))

    def _refuse(self, status: HTTPStatus) -> None:
        if not self._is_idle and (self._answering is not self.cycle or self.cycle.response_started):
            # A refusal now would appear inside another response, or in place of one.
            self._cut()
            return
        self._disconnect()
        self.transport.write(refusal(status))
        self.transport.close()

    def _cut(self) -> None:
        # First: otherwise the cycle would learn it too late and report an incomplete response.
        self._disconnect()
        reset(self.transport)

    def _disconnect(self) -> RequestResponseCycle | None:
        """Tell the running request handler that its client left. None if none is running."""
        cycle = self._answering
        if cycle is None or cycle.response_complete:
            return None
        cycle.disconnected = True
        cycle.message_event.set()
        call, self._when_left = self._when_left, None
        if call is not None:
            call()
        return cycle


class WebSocketConnection(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket connection with limits.

    A message may be as large as a body (`MAX_BODY_BYTES`), compressed or not, in one frame or in
    fragments. The application can cut the connection as with `HttpConnection`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn.max_message_size = self.app_state["config"].max_body_bytes

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.handshake_initiated and not self.transport.is_closing():
            self._refuse_handshake()

    async def run_asgi(self) -> None:
        _let_cut(self.scope, self._cut)
        self.app = self._noting_denial(self.app)
        await super().run_asgi()

    def _noting_denial(self, app: Any) -> Any:
        """Note that the application refused the handshake with a status.

        uvicorn does not, and would log the end of the application as an error.
        """

        async def noting(scope: Any, receive: Any, send: Any) -> None:
            await app(scope, receive, send)
            self.handshake_complete = self.handshake_complete or self.close_sent

        return noting

    def _cut(self) -> None:
        if not self.disconnected:
            reset(self.transport)

    def _refuse_handshake(self) -> None:
        """Answer a malformed handshake.

        uvicorn believes that the handshake is still incomplete: it would send nothing, and fail
        when the server shuts down.
        """
        self.handshake_complete = self.close_sent = True
        ours = refusal(HTTPStatus.BAD_REQUEST)
        self.transport.write(b"".join(self.conn.data_to_send()) or ours)
        self.transport.close()

    def handle_cont(self, event: Any) -> None:
        super().handle_cont(event)
        if len(self.frames) > MAX_FRAGMENTS:
            self._fail(1009)

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text" and not _is_text(b"".join(self.frames)):
            # uvicorn would log the client's invalid UTF-8 as an error of the server.
            self._fail(1007)
        else:
            super().send_receive_event_to_app()

    def handle_ping(self) -> None:
        if self.writable.is_set():
            super().handle_ping()
        else:
            # The client does not read. Discard the pong instead of buffering one per ping.
            self.conn.data_to_send()

    def _fail(self, code: int) -> None:
        self.frames = []
        if not self.close_sent:
            self.conn.fail(code)
            self.handle_parser_exception()


def _let_cut(scope: Any, cut: Callable[[], None]) -> None:
    scope.setdefault("extensions", {})["lex.cut"] = {"cut": cut}


def refusal(status: HTTPStatus) -> bytes:
    """A complete problem response for a request that never reaches the application. This logs it,
    because the request has no access line.
    """
    is_full = status is HTTPStatus.SERVICE_UNAVAILABLE
    code = "overloaded" if is_full else "bad_request"
    level = logging.WARNING if is_full else logging.INFO
    logger.log(level, "connection_refused", status=status.value, error=code)
    body = json.dumps(
        {
            "type": "about:blank",
            "title": phrase_of(status),
            "status": status.value,
            "detail": DETAILS[status],
            "code": code,
        }
    )
    head = (
        f"HTTP/1.1 {status.value} {phrase_of(status)}",
        "content-type: application/problem+json",
        f"content-length: {len(body)}",
        "x-content-type-options: nosniff",
        *(["retry-after: 5"] if is_full else []),
        "connection: close",
    )
    return ("\r\n".join((*head, "", "")) + body).encode()


def reset(transport: asyncio.Transport) -> None:
    """Close a connection at once with a TCP reset, which discards unsent bytes in the kernel."""
    if (connection := transport.get_extra_info("socket")) is not None:
        linger_not = struct.pack("ii", 1, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_not)
    transport.abort()


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
