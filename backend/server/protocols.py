"""The server's connections: uvicorn's, with bounds for hostile clients.

uvicorn reads a request's head for as long as it comes, however long it gets. Here its size and
its time are bounded, before the application hears of it. `api/middleware/body_limit.py` bounds the
body, which the application reads.
"""

import asyncio
import json
import socket
import struct
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, ClassVar, cast

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from backend.server.http10 import CloseDelimited
from backend.server.request_heads import fault_of, with_host_of
from backend.server.upgrades import RequestParser, is_websocket_handshake, with_websocket_alone

logger = structlog.get_logger()

MAX_URL_BYTES = 16_384
"""Twice of what `GET /query` takes, which refuses more in a way that a browser can read."""

MAX_HEAD_BYTES = 32_768
MAX_HEADERS = 100

NO_ROOM = "There is no room for another connection at the moment."

MAX_OVERFLOW = 48
"""Connections beyond those that there may be. `file_descriptors.RESERVED` is more, since one that
is turned away has its descriptor for a moment longer."""

MAX_FRAGMENTS = 1024
"""Per message. Empty fragments add nothing to its size, and could go on for ever."""


class HttpConnection(HttpToolsProtocol):
    """Can be cut by the application, through `scope["extensions"]["lex.cut"]`, and says so when
    the kernel cut it: either way what the client did not read is thrown away. Takes the body of a
    response that has begun through `["lex.body"]["send"]`, past everything that wraps `send`.

    uvicorn takes the last request for the one that is being answered; when more are pipelined
    behind it, whoever answers would never hear that the client left.
    """

    head_seconds: ClassVar[float] = 10
    """From the first byte of a request to the end of its head."""

    arriving_seconds: ClassVar[float] = 2
    """For a request that was on its way when the server began to leave."""

    rest_seconds: ClassVar[float] = 5
    """For the rest of a body that nobody wanted, once its request is answered."""

    _answering: RequestResponseCycle | None = None
    """Or answered last."""

    _has_begun = False
    """The first bytes of a head were read, and not yet its end."""

    _is_leaving = False
    """The server leaves, and waits for the request that is on its way."""

    _in_body = False
    _head_bytes = 0
    _framing_bytes = 0
    """Bytes around a body: sizes of chunks, and trailers."""

    _refusal = HTTPStatus.BAD_REQUEST
    """The answer to a request that cannot be read any further."""

    _timer: asyncio.TimerHandle | None = None

    overflow_seconds: ClassVar[float] = 2
    """For the head of a request on an overflow connection: its descriptor is one of a few."""

    overflow_since: float | None = None
    """When this connection came, if it is one of those."""

    takes_upgrade = False
    """The request is a handshake, and nothing else is still to be answered on this connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.parser = cast(Any, RequestParser(self))

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # uvicorn begins to count when the first response ends.
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )
        config = self.app_state.get("config")
        if config is not None and len(self.connections) > config.max_connections:
            self._join_overflow()

    def _join_overflow(self) -> None:
        """If there are too many of these as well, the one goes that has been silent for longest."""
        self.overflow_since = self.loop.time()
        self._start_timer(self.overflow_seconds, self._cut_slow_head)
        overflow = [each for each in self.connections if isinstance(each, HttpConnection)]
        overflow = [each for each in overflow if each.is_overflow]
        if len(overflow) > MAX_OVERFLOW:
            # Never empty: nobody has asked on this one yet.
            silent = [each for each in overflow if each.is_unasked]
            min(silent, key=lambda each: each.overflow_since or 0).turn_away()

    @property
    def is_overflow(self) -> bool:
        """It came when there were as many as may be. Probes are answered on it, and nobody else."""
        return self.overflow_since is not None and not self.transport.is_closing()

    @property
    def is_unasked(self) -> bool:
        """No request has come on it."""
        return self._answering is None

    def turn_away(self) -> None:
        """Close it with a 503, whatever is still to come."""
        self._stop_timer()
        self.transport.write(refusal(HTTPStatus.SERVICE_UNAVAILABLE))
        self.transport.close()

    def data_received(self, data: bytes) -> None:
        begun, in_body, request = self._has_begun, self._in_body, self.scope
        super().data_received(data)
        if self.transport.is_closing() or self.transport.get_protocol() is not self:
            return
        if request is self.scope:
            # A header that does not end is not seen by `on_header`.
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
        if self.is_overflow:
            self.scope["extensions"]["lex.overflow"] = {}
        self._has_begun, self._head_bytes, self._framing_bytes = True, 0, 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > MAX_URL_BYTES:
            self._break_off(HTTPStatus.REQUEST_URI_TOO_LONG)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_body:
            # A trailer: by now it has been decided who asks, and from where.
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
            return  # `RequestParser` reads it once more, without the upgrade
        self._has_begun, self._in_body, self._head_bytes = False, True, 0
        if not self.url.startswith(b"/"):
            self.headers[:] = with_host_of(self.url, self.headers)
        if request[1] == "1.0":
            self._read_as_old()
        super().on_headers_complete()
        if self.is_overflow:
            # Whatever answers, the application or one of those around it.
            self.cycle.keep_alive = False
        if len(self.pipeline) == 1:
            # uvicorn has paused reading, and a close is heard only while reading. With more than
            # one it stays so, for the sake of memory, until the next write fails.
            self.flow.resume_reading()

    def _read_as_old(self) -> None:
        """HTTP/1.0 knows no `100 Continue`, and its answers go the way of `CloseDelimited`."""
        self.expect_100_continue = False
        del self.scope["extensions"]["lex.body"]

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        # Chunks of a byte or two are six times as large as what is in them, and are allowed.
        self._framing_bytes = max(0, self._framing_bytes - 8 * len(body))

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._stop_timer()
        self._in_body = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        is_last = self._answering is self.cycle
        if is_last and self._in_body and self.expect_100_continue:
            # Whether a body follows that was never asked for, nobody can know.
            self.transport.close()
        super().on_response_complete()
        if is_last and self._in_body and not self.transport.is_closing():
            self._start_timer(self.rest_seconds, self.transport.close)

    def shutdown(self) -> None:
        """Close what is idle. uvicorn would close as well where somebody has just connected to
        ask, or has begun to.
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
        """uvicorn calls this when a request cannot be read, for whatever reason."""
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
        # Nobody else is answered before this answer is whole.
        return cast(RequestResponseCycle, self._answering).send(message)

    @property
    def _is_idle(self) -> bool:
        return self._answering is None or self._answering.response_complete

    def _cut_slow_head(self) -> None:
        self._timer = None
        if not self._is_idle:  # it has begun to send the next request, and reads the last answer
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
        """Out of a callback of the parser, which then calls nothing more."""
        self._refusal = status
        raise ValueError(status.phrase)

    def _refuse(self, status: HTTPStatus) -> None:
        if not self._is_idle and (self._answering is not self.cycle or self.cycle.response_started):
            # Never in the middle of another answer, or instead of one.
            self._cut()
            return
        self._disconnect()
        self.transport.write(refusal(status))
        self.transport.close()

    def _cut(self) -> None:
        # The cycle would hear of it a moment later, and call the response incomplete.
        self._disconnect()
        reset(self.transport)

    def _disconnect(self) -> RequestResponseCycle | None:
        """Tell whoever is answering, if anybody is."""
        cycle = self._answering
        if cycle is None or cycle.response_complete:
            return None
        cycle.disconnected = True
        cycle.message_event.set()
        return cycle


class WebSocketConnection(WebSocketsSansIOProtocol):
    """Takes no message that is larger than a body may be, packed or not, in one piece or many.

    Can be cut by the application in the same way as `HttpConnection`.
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
        """uvicorn forgets that a handshake was answered with a status, and logs it as a defect."""

        async def noting(scope: Any, receive: Any, send: Any) -> None:
            await app(scope, receive, send)
            self.handshake_complete = self.handshake_complete or self.close_sent

        return noting

    def _cut(self) -> None:
        if not self.disconnected:
            reset(self.transport)

    def _refuse_handshake(self) -> None:
        """uvicorn takes one that cannot be read for one that is still to come: it would answer
        nothing, and fail at its own shutdown.
        """
        self.handshake_complete = self.close_sent = True
        answer = b"".join(self.conn.data_to_send())
        self.transport.write(answer or refusal(HTTPStatus.BAD_REQUEST))
        self.transport.close()

    def handle_cont(self, event: Any) -> None:
        super().handle_cont(event)
        if len(self.frames) > MAX_FRAGMENTS:
            self._fail(1009)

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text" and not _is_text(b"".join(self.frames)):
            # uvicorn would complain as if the mistake were ours.
            self._fail(1007)
        else:
            super().send_receive_event_to_app()

    def handle_ping(self) -> None:
        if self.writable.is_set():
            super().handle_ping()
        else:
            # A client that does not read gets no pongs on top of what it has not read yet.
            self.conn.data_to_send()

    def _fail(self, code: int) -> None:
        self.frames = []
        if not self.close_sent:
            self.conn.fail(code)
            self.handle_parser_exception()


def _let_cut(scope: Any, cut: Callable[[], None]) -> None:
    scope.setdefault("extensions", {})["lex.cut"] = {"cut": cut}


def refusal(status: HTTPStatus) -> bytes:
    """A whole response for a request that no application has heard of."""
    is_full = status is HTTPStatus.SERVICE_UNAVAILABLE
    body = json.dumps(
        {
            "type": "about:blank",
            "title": status.phrase,
            "status": status.value,
            "detail": NO_ROOM if is_full else "The request cannot be read.",
            "code": "overloaded" if is_full else "bad_request",
        }
    )
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}",
        "content-type: application/problem+json",
        f"content-length: {len(body)}",
        "x-content-type-options: nosniff",
        *(["retry-after: 5"] if is_full else []),
        "connection: close",
    )
    return ("\r\n".join((*head, "", "")) + body).encode()


def reset(transport: asyncio.Transport) -> None:
    """Close a connection at once, and have the kernel forget what was not read yet."""
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
