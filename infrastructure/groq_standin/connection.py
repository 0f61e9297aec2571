"""One client's connection: bytes in, requests out, one answer at a time on the way back.

Reading never pauses while an answer is played: only a read notices at once that the client left.
"""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import httptools

from infrastructure.groq_standin.http import Request, sized
from infrastructure.groq_standin.playback import Playback
from infrastructure.groq_standin.stats import Stats
from infrastructure.groq_standin.steps import Ending, Step

MAX_BODY_BYTES = 32 * 1024 * 1024
MAX_PIPELINED = 64


@dataclass(frozen=True, slots=True)
class Answer:
    """What to play for a request, and whether it counts as a completion."""

    steps: Iterator[Step]
    is_completion: bool = False


class Connection(asyncio.Protocol):
    """Speaks HTTP/1.1 with keep-alive and pipelining."""

    def __init__(
        self, answer: Callable[[Request], Answer], *, stats: Stats, peers: set["Connection"]
    ) -> None:
        self._answer = answer
        self._stats = stats
        self._peers = peers
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[tuple[Request, bool]] = deque()
        self._playback: Playback | None = None
        self._is_completion = False
        self._is_last = False
        self._is_write_paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._peers.add(self)
        self._stats.connection_opened()

    def connection_lost(self, _exc: Exception | None) -> None:
        self._peers.discard(self)
        self._waiting.clear()
        self._stats.connection_closed()
        playback, self._playback = self._playback, None
        if playback is not None:
            playback.cancel()
            if self._is_completion:
                self._stats.left(has_started=playback.has_started)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._refuse_to_parse()
            return
        self._next()

    def pause_writing(self) -> None:
        self._is_write_paused = True
        if self._playback is not None:
            self._playback.pause()

    def resume_writing(self) -> None:
        self._is_write_paused = False
        if self._playback is not None:
            self._playback.resume()

    def abort(self) -> None:
        """Drop the connection; what was being answered counts as failed, not as left."""
        if self._playback is not None:
            self._playback.cancel()
            self._end(Ending.FAILED)
        self._transport.abort()

    # What the parser calls.

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._size = 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))
        if name.lower() == b"expect" and self._playback is None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size <= MAX_BODY_BYTES:
            self._body.append(body)
        else:
            self._body.clear()

    def on_message_complete(self) -> None:
        request = Request(
            method=self._parser.get_method().decode("ascii"),
            path=self._url.decode("latin-1").partition("?")[0],
            headers=self._headers,
            body=b"".join(self._body),
            size=self._size,
        )
        self._waiting.append((request, self._parser.should_keep_alive()))

    # One answer after the other.

    def _next(self) -> None:
        if len(self._waiting) > MAX_PIPELINED:
            self._transport.abort()
        while self._waiting and self._playback is None and not self._transport.is_closing():
            request, keep_alive = self._waiting.popleft()
            self._start(self._answer(request), is_last=not keep_alive)

    def _start(self, answer: Answer, *, is_last: bool) -> None:
        self._is_completion = answer.is_completion
        self._is_last = is_last
        self._playback = Playback(
            answer.steps, transport=self._transport, loop=self._loop, on_end=self._ended
        )
        self._playback.is_paused = self._is_write_paused
        self._playback.play()

    def _ended(self, ending: Ending) -> None:
        self._end(ending)
        if self._waiting:
            # Not called directly: a long pipeline of quick answers would recurse.
            self._loop.call_soon(self._next)

    def _end(self, ending: Ending) -> None:
        if self._playback is not None and self._is_completion:
            self._stats.ended(ending)
        self._playback = None
        match ending:
            case Ending.RESET:
                self._reset()
            case Ending.CLOSED:
                self._transport.close()
            case Ending.COMPLETED | Ending.FAILED if self._is_last:
                self._transport.close()

    def _reset(self) -> None:
        peer: socket.socket = self._transport.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def _refuse_to_parse(self) -> None:
        if self._playback is None:
            self._transport.write(sized(400, {"connection": "close"}, b"Bad Request"))
        self._transport.close()
