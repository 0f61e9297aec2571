"""A TCP proxy to Postgres that a test can shut, so that the database seems to go away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from sqlalchemy.engine import make_url


class PostgresGate:
    """The proxy. `url` leads through it; while it is shut, connections are refused."""

    def __init__(self, url: str) -> None:
        self.lead_to(url)
        behind = make_url(url)
        rest = {name: value for name, value in behind.query.items() if name != "host"}
        self._url = behind.set(host="127.0.0.1", query=rest)
        self._port = 0
        self._server: asyncio.Server | None = None
        self._passing: set[asyncio.StreamWriter] = set()

    def lead_to(self, url: str) -> None:
        """Lead new connections to this server. Open ones stay, as after a change in the DNS."""
        self._behind = make_url(url)

    @property
    def url(self) -> str:
        return self._url.set(port=self._port).render_as_string(hide_password=False)

    async def open(self) -> None:
        """Accept connections, on the same port as before."""
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        """Refuse new connections and cut the open ones."""
        if self._server is not None:
            self._server.close()
            for writer in list(self._passing):
                writer.transport.abort()
            await self._server.wait_closed()
            self._server = None

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, to_behind = await self._connect()
        both = {writer, to_behind}
        self._passing |= both
        try:
            there = asyncio.create_task(_copy(reader, to_behind))
            back = asyncio.create_task(_copy(behind, writer))
            await asyncio.wait([there, back])
        finally:
            self._passing -= both

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._behind.host:
            return await asyncio.open_connection(self._behind.host, self._behind.port)
        socket = Path(str(self._behind.query["host"])) / ".s.PGSQL.5432"
        return await asyncio.open_unix_connection(str(socket))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def postgres_gate(url: str, *, is_open: bool = True) -> AsyncIterator[PostgresGate]:
    gate = PostgresGate(url)
    await gate.open()
    if not is_open:
        await gate.shut()
    try:
        yield gate
    finally:
        await gate.shut()
