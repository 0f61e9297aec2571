"""One connection to the service with the events of a turn: a response or a WebSocket."""

import io
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

import aiohttp

from loadtests import sse
from loadtests.sse import Frame

SILENCE_SECONDS = 4.0
"""Silence after which a client gives up. Heartbeats come every second."""
SOCKET_SILENCE_SECONDS = 8.0
"""The same for a WebSocket, which has no heartbeats."""


class Broken(Exception):
    """The connection broke."""


class Refused(Exception):
    """The service refused the query, or has nothing more to read."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code


class Line(Protocol):
    """A connection that can break."""

    turn_id: str

    def frames(self) -> AsyncGenerator[Frame, None]:
        """Yield frames as they arrive. Raises Broken and Refused."""
        ...

    def break_off(self) -> None:
        """Break the connection."""
        ...


class Stream:
    """An answer as Server-Sent Events."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer
        self.turn_id = answer.headers["X-Turn-Id"]

    async def frames(self) -> AsyncGenerator[Frame, None]:
        received = b""
        try:
            async for data in self._answer.content.iter_any():
                *whole, received = (received + data).split(b"\n\n")
                for text in whole:
                    for frame in sse.frames(io.BytesIO(text + b"\n\n").readline):
                        yield frame
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            raise Broken from error
        if received:
            raise Broken

    def break_off(self) -> None:
        if self._answer.connection is not None and self._answer.connection.transport is not None:
            self._answer.connection.transport.abort()


@asynccontextmanager
async def streaming(
    http: aiohttp.ClientSession, method: str, url: str, **given: Any
) -> AsyncIterator[Stream]:
    """Open a stream. Raises Refused without a stream, and Broken without an answer."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=2, sock_read=SILENCE_SECONDS)
    try:
        answer = await http.request(method, url, timeout=timeout, **given)
    except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
        raise Broken from error
    try:
        if answer.status != 200:
            raise Refused(answer.status, await _code(answer))
        yield Stream(answer)
    finally:
        answer.close()


async def _code(answer: aiohttp.ClientResponse) -> str:
    try:
        return str(json.loads(await answer.read() or b'{"code": "nothing"}')["code"])
    except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
        raise Broken from error


class Socket:
    """A WebSocket with one turn at a time."""

    turn_id = ""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def ask(self, query: str) -> None:
        await self._send({"type": "query", "query": query})

    async def resume(self, last_event_id: str) -> None:
        await self._send({"type": "resume", "last_event_id": last_event_id})

    async def _send(self, request: dict[str, str]) -> None:
        try:
            await self._socket.send_json(request)
        except (aiohttp.ClientError, ConnectionError) as error:
            raise Broken from error

    async def frames(self) -> AsyncGenerator[Frame, None]:
        """Yield frames up to the end of the turn."""
        is_over = False
        while not is_over:
            try:
                event = await self._socket.receive_json(timeout=SOCKET_SILENCE_SECONDS)
            except (aiohttp.ClientError, TimeoutError, ConnectionError, TypeError) as error:
                raise Broken from error  # TypeError: a close message has no text
            if "id" not in event:
                raise Refused(0, event["data"]["code"])
            self.turn_id = event["turn"]
            is_over = event["type"] == "end"
            yield Frame(event["type"], _as_data(event["data"]), event["id"])

    def break_off(self) -> None:
        transport = self._socket.get_extra_info("transport")
        if transport is not None:
            transport.abort()


def _as_data(told: Any) -> str:
    """The data of the same event in a stream."""
    return told if isinstance(told, str) else json.dumps(told)


@asynccontextmanager
async def socket_to(http: aiohttp.ClientSession, url: str) -> AsyncIterator[Socket]:
    """Open a WebSocket. Raises Broken if that fails."""
    address = url.replace("http", "ws", 1)
    try:
        socket = await http.ws_connect(address, heartbeat=None)
    except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
        raise Broken from error
    try:
        yield Socket(socket)
    finally:
        await socket.close()
