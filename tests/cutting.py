"""A proxy that breaks connections in the middle of an answer, and a client that reconnects."""

import asyncio
import random
import re
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests.listening import listening
from tests.serving import ids_of, is_over

Cut = int | bytes
"""Where to cut: this many bytes after the head of the answer (before its end if negative), or
right after the first occurrence of these bytes.
"""

WITHIN_HEAD = -100


async def _at_once() -> None:
    """Allow a cut without waiting."""


_REQUEST = re.compile(rb"^([A-Z]+) (\S+) HTTP/1\.1\r\n((?:.+\r\n)*)\r\n", re.MULTILINE)


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    headers: Mapping[str, str]


@dataclass
class Cutter:
    """A TCP proxy. Each of `cuts` ends one connection, alternately by a close and by a reset.

    When no cuts are left, connections pass untouched.
    """

    upstream: str
    cuts: Iterator[Cut]
    url: str = ""
    times: int = 0
    """The number of connections that were cut."""
    may_cut: Callable[[], Awaitable[object]] = _at_once
    """Awaited before each cut, when the client was sent everything before it."""
    _sent: list[bytearray] = field(default_factory=list)
    _clients: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def requests(self) -> list[Request]:
        """The requests that clients sent, connection by connection."""
        return [_request(found) for sent in self._sent for found in _REQUEST.finditer(sent)]

    def break_all(self) -> None:
        """Abort all open connections."""
        for client in self._clients:
            client.transport.abort()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = urlsplit(self.upstream).netloc.partition(":")
        upstream_reader, upstream_writer = await asyncio.open_connection(host, int(port))
        self._clients.add(writer)
        try:
            await _until_one_ends(
                self._carry_there(reader, upstream_writer),
                self._carry_back(upstream_reader, writer),
            )
        finally:
            self._clients.discard(writer)
            upstream_writer.close()

    async def _carry_there(
        self, client: asyncio.StreamReader, upstream: asyncio.StreamWriter
    ) -> None:
        sent = bytearray()
        self._sent.append(sent)
        while data := await client.read(65536):
            sent += data
            upstream.write(data)
            await upstream.drain()

    async def _carry_back(
        self, upstream: asyncio.StreamReader, client: asyncio.StreamWriter
    ) -> None:
        answered, cut = bytearray(), None
        while data := await upstream.read(65536):
            if not answered:  # not earlier, since browsers open connections that they never use
                cut = next(self.cuts, None)
            passed = len(answered)
            answered += data
            end = self.place(cut, answered)
            client.write(answered[passed:end])
            if end is not None:
                await self.may_cut()
                self._cut(client)
                return
            await client.drain()

    def place(self, cut: Cut | None, answered: bytearray) -> int | None:
        """The position of the cut in the answer; None if the answer is not that long yet."""
        if isinstance(cut, bytes):
            found = answered.find(cut)
            return None if found < 0 else found + len(cut)
        if cut is None or (head := answered.find(b"\r\n\r\n")) < 0:
            return None
        place = head + len(b"\r\n\r\n") + cut
        return place if place <= len(answered) else None

    def _cut(self, client: asyncio.StreamWriter) -> None:
        self.times += 1
        if self.times % 2 == 0:
            linger_not = struct.pack("ii", 1, 0)
            connection: socket.socket = client.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_not)


def _request(found: re.Match[bytes]) -> Request:
    method, target, head = (part.decode() for part in found.groups())
    lines = [line.split(": ", 1) for line in head.splitlines()]
    return Request(method, target, {name.lower(): value for name, value in lines})


async def _until_one_ends(*directions: Awaitable[None]) -> None:
    tasks = [asyncio.ensure_future(direction) for direction in directions]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception) and not isinstance(result, ConnectionError):
                raise result


@asynccontextmanager
async def cutting(
    upstream: str, cuts: Iterable[Cut], kind: type[Cutter] = Cutter
) -> AsyncIterator[Cutter]:
    cutter = kind(upstream, iter(cuts))
    async with listening(cutter.carry) as port:
        cutter.url = f"http://127.0.0.1:{port}"
        yield cutter


def anywhere(chance: random.Random, *, up_to: int) -> Iterator[int]:
    """Endless random cuts: in the head of an answer, within a frame, or between two frames."""
    while True:
        yield chance.randrange(WITHIN_HEAD, up_to)


async def asked_and_resumed(ways: Iterator[httpx.AsyncClient], query: str, session_id: str) -> str:
    """Read a resumable stream to its end, over as many connections as it takes.

    Each connection uses the next client of `ways`. Heartbeats and incomplete frames are dropped.
    """
    whole = ""
    while not is_over(whole):
        frames = await _frames(next(ways), *_request_behind(whole, query, session_id))
        # A resumed stream starts with a frame that repeats its position.
        whole += frames.partition("\n\n")[2] if whole else frames
    return whole


def _request_behind(whole: str, query: str, session_id: str) -> tuple[str, str, dict[str, Any]]:
    """The next request. Until the turn is known, an idempotency key prevents a second turn."""
    if not whole:
        body = {"query": query, "session_id": session_id, "resume": True}
        return "POST", "/query", {"json": body, "headers": {"Idempotency-Key": session_id}}
    last = ids_of(whole)[-1]
    return "GET", f"/turns/{turn_of(whole)}/events", {"headers": {"Last-Event-ID": last}}


def turn_of(stream: str) -> str:
    """The id of the turn of a resumable stream."""
    return ids_of(stream)[0].partition("-")[0]


async def _frames(
    client: httpx.AsyncClient, method: str, url: str, options: Mapping[str, Any]
) -> str:
    """The frames that arrived completely on one connection, no matter how it ended."""
    received = b""
    try:
        async with client.stream(method, url, **options) as answer:
            assert answer.status_code == 200, await answer.aread()
            async for data in answer.aiter_raw():
                received += data
    except httpx.TransportError:
        pass  # this connection ended, but the stream goes on
    frames, ending, _ = received.rpartition(b"\n\n")
    return re.sub(r"^: \n\n", "", (frames + ending).decode(), flags=re.MULTILINE)
