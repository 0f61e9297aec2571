"""The stand-in as a whole: opens, listens, stops."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

from infrastructure.groq_standin import script as scripts
from infrastructure.groq_standin.connection import Connection
from infrastructure.groq_standin.routes import Routes
from infrastructure.groq_standin.script import Script
from infrastructure.groq_standin.scriptbook import Pushed, ScriptBook
from infrastructure.groq_standin.stats import Stats

BACKLOG = 4096
"""Thousands of streams may start at once."""


class Standin:
    """Groq, as far as its wire goes. After `stop` it may `start` again, at the same address."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        demo_tokens_per_second: float | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._tls = tls
        self.host = host
        self.port = port
        self.stats = Stats()
        self._book = ScriptBook()
        routes = Routes(self._book, self.stats, demo_tokens_per_second=demo_tokens_per_second)
        self._answer = routes.answer
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None

    @classmethod
    @asynccontextmanager
    async def serve(
        cls, host: str = "127.0.0.1", port: int = 0, *, tls: ssl.SSLContext | None = None
    ) -> AsyncIterator[Self]:
        """A stand-in that listens for as long as the block lasts."""
        standin = cls(host, port, tls=tls)
        await standin.start()
        try:
            yield standin
        finally:
            await standin.stop()

    @property
    def url(self) -> str:
        """What `GROQ_BASE_URL` is set to."""
        return f"{'http' if self._tls is None else 'https'}://{self.host}:{self.port}"

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            self._connect, self.host, self.port, backlog=BACKLOG, ssl=self._tls
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse new connections and drop the open ones."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for connection in tuple(self._connections):
            connection.abort()
        await self.stats.until(lambda stats: stats.open_connections == 0, seconds=5)
        await server.wait_closed()

    def script(
        self, *rounds: dict[str, Any], model: str | None = None, contains: str | None = None,
        **more: Any,
    ) -> Pushed:  # fmt: skip
        """Push a script of these rounds; `times` may be among what is given besides.

        Raises:
            ScriptError: with the place and the reason.
        """
        value = {"rounds": rounds, "model": model, "contains": contains, **more}
        return self.push(scripts.convert(value))

    def push(self, script: Script) -> Pushed:
        return self._book.push(script)

    def forget_scripts(self) -> None:
        self._book.forget()

    def _connect(self) -> Connection:
        return Connection(self._answer, stats=self.stats, peers=self._connections)
