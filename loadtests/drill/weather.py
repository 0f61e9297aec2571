"""A weather service that can be slow, broken or dead, behind a proxy that leads all names to it."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.certificates import Authority
from tests.listening import listening
from tests.open_meteo import PARIS, OpenMeteoServer

CITIES = tuple(f"Springfield {number}" for number in range(5_000))

HOSTS = "*.open-meteo.com"


@dataclass
class Weather:
    """`proxy` is the URL of the proxy, and `authority` the file that its clients must trust."""

    proxy: str
    authority: Path
    delay_seconds: float = 0.0
    broken_share: float = 0.0
    """The share of answers that are a 503."""
    is_dead: bool = False
    """Whether connections are refused."""
    server: OpenMeteoServer = field(default_factory=OpenMeteoServer)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(self.delay_seconds)
        is_broken = random.random() < self.broken_share
        self.server.fault = (503, "{}") if is_broken else None
        await self.server.answer(reader, writer)


@asynccontextmanager
async def served_weather(folder: Path) -> AsyncIterator[Weather]:
    authority = Authority()
    file = folder / "authority.pem"
    file.write_bytes(authority.pem)
    weather = Weather("", file)
    weather.server.is_open.set()
    weather.server.places = [{**PARIS, "name": city} for city in CITIES]
    tls = authority.sign(HOSTS).served(folder)
    async with listening(weather.answer, tls=tls) as port:

        async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            """Answer `CONNECT`, then pass all bytes between the client and the weather service."""
            await reader.readuntil(b"\r\n\r\n")
            if weather.is_dead:
                writer.write(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n")
                return
            writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            there, to_there = await asyncio.open_connection("127.0.0.1", port)
            try:
                await asyncio.gather(_copy(reader, to_there), _copy(there, writer))
            finally:
                to_there.close()

        async with listening(pass_on) as proxy_port:
            weather.proxy = f"http://127.0.0.1:{proxy_port}"
            yield weather


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while some := await reader.read(65_536):
            writer.write(some)
            await writer.drain()
    writer.close()
