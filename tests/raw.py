"""Requests as raw bytes, for those that no client library would send."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.serving import Lex
from tests.waiting import waiting

HANDSHAKE = (
    b"GET /ws/sessions/s1 HTTP/1.1\r\nHost: localhost\r\n"
    b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
"""The head of a WebSocket handshake, without the final empty line."""


@dataclass(frozen=True)
class Wire:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def rest(self, *, seconds: float = 10) -> bytes:
        """Everything that arrives until the server closes.

        Raises:
            TimeoutError: the server has not closed in time.
        """
        received = b""
        async with asyncio.timeout(seconds):
            try:
                while some := await self.reader.read(65_536):
                    received += some
            except ConnectionResetError:
                pass
        return received

    async def head(self) -> bytes:
        """The head of one response."""
        async with waiting():
            return await self.reader.readuntil(b"\r\n\r\n")


@asynccontextmanager
async def wire(service: Lex) -> AsyncIterator[Wire]:
    async with connected(int(service.url.rpartition(":")[2])) as opened:
        yield opened


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()


def frame(
    payload: bytes, *, opcode: int = 1, final: bool = True, reserved: int = 0, masked: bool = True
) -> bytes:
    """One WebSocket frame as a client sends it."""
    first = bytes([final << 7 | reserved << 4 | opcode])
    mask = os.urandom(4) if masked else b""
    size, bit = len(payload), 0x80 if masked else 0
    if size < 126:
        length = bytes([bit | size])
    elif size < 65_536:
        length = bytes([bit | 126]) + size.to_bytes(2, "big")
    else:
        length = bytes([bit | 127]) + size.to_bytes(8, "big")
    if masked:
        payload = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
    return first + length + mask + payload
