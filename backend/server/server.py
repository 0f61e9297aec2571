"""uvicorn's server, changed so that it serves on while turns drain.

Stock uvicorn closes its listener and every WebSocket as soon as it is told to stop. Probes would
then fail, and clients could not resume. `python -m backend.server` runs this server alone;
`gunicorn.py` runs it under gunicorn. It finds what it needs from the application in the lifespan
state (`State`).
"""

import argparse
import asyncio
import gc
import os
import socket
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, NotRequired, Protocol, TypedDict, cast

import structlog
import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.protocols.http.flow_control import CLOSE_HEADER
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from backend.network.exposure import STATE_KEY, Exposure, exposure_of
from backend.network.listen_address import read_port, try_address
from backend.server.protocols import HttpConnection, WebSocketConnection, reset

logger = structlog.get_logger()

FLUSH_SECONDS = 5
"""After the drain, clients have this long to read the last bytes; then they are cut."""

KEEP_ALIVE_SECONDS = 75
"""Longer than proxies keep idle connections (up to 60 s). If the server closed first, a proxy
could just be sending a request on the connection."""


class Drainable(Protocol):
    async def drain(self, *, accept_seconds: float, drain_seconds: float) -> None: ...

    def hurry(self) -> None: ...


class Starting(Protocol):
    @property
    def failure(self) -> str | None:
        """The line to log if the start failed while it waited for the store; otherwise None."""
        ...

    @property
    def has_broken(self) -> bool:
        """Whether a defect ended the start, so that it makes no further attempt."""
        ...


class Config(Protocol):
    drain_accept_seconds: float
    drain_seconds: float
    send_timeout_seconds: float
    metrics_port: int | None
    max_body_bytes: int
    """For `WebSocketConnection`."""
    max_connections: int
    """For `HttpConnection`."""


class Opened(Protocol):
    turns: Drainable


class State(TypedDict):
    """The state that the application's lifespan yields."""

    start: Starting
    config: Config
    opened: NotRequired[Opened]
    """Missing while the application waits for its store and accepts no turns."""


class Server(uvicorn.Server):
    """A server that, when told to stop, serves on until all turns have drained, then shuts down.

    A second signal cuts every wait short; the order of steps stays. The server already accepts
    connections while the application waits for its store; the application then refuses everything
    but probes and metrics.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._signals: list[int] = []
        self._has_failed = False
        self._leaving: asyncio.Task[None] | None = None

    @property
    def _state(self) -> State:
        return cast(State, self.lifespan.state)

    @property
    def _is_hurried(self) -> bool:
        return len(self._signals) > 1

    @property
    def _is_replaced(self) -> bool:
        """Whether others listen on the same socket and stay."""
        return False

    async def _until_succeeded(self) -> None:
        """Wait until another process accepts connections. A single worker has no successor."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Note the signal. The next tick acts on it, because a handler can interrupt any code.

        uvicorn would raise the signal again when it ends; here the exit code is 0.
        """
        self._signals.append(sig)

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        await super().serve(sockets=sockets)
        if self._has_failed:
            raise SystemExit(STARTUP_FAILURE)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.lifespan.state[STATE_KEY] = self._exposure(sockets)
        await super().startup(sockets=sockets)
        port = self._state["config"].metrics_port
        if port is not None and sockets is None:
            await self._listen_also(port)
        for server in self.servers:
            for listener in server.sockets:
                close_stalled(listener, self._state["config"].send_timeout_seconds)

    def _exposure(self, sockets: list[socket.socket] | None) -> Exposure:
        if sockets is not None:
            return exposure_of(listener.getsockname() for listener in sockets)
        return exposure_of([self.config.uds or (self.config.host, self.config.port)])

    async def _listen_also(self, port: int) -> None:
        """Listen on a second port, for metrics. The application distinguishes the two."""
        loop = asyncio.get_running_loop()
        try:
            server = await loop.create_server(self._connection, self.config.host, port)
        except OSError as error:
            await self.shutdown()
            raise SystemExit(f"lex: METRICS_PORT cannot be used: {error.strerror}.") from None
        self.servers.append(server)

    def _connection(self) -> HttpConnection:
        return HttpConnection(self.config, self.server_state, self.lifespan.state)

    async def on_tick(self, counter: int) -> bool:
        if self._signals and self._leaving is None:
            self._leaving = asyncio.create_task(self._leave())
        if self._is_hurried and "opened" in self._state:
            self._state["opened"].turns.hurry()
        self._check_start()
        if self._leaving is not None and self._leaving.done():
            self.should_exit = True
        return await super().on_tick(counter)

    def _check_start(self) -> None:
        """Leave with an error if the application gave up waiting for its store."""
        failure = self._state["start"].failure
        if failure is not None and not self._has_failed:
            logger.error(failure)
            self._has_failed = self.should_exit = True

    async def _leave(self) -> None:
        """Drain: accept turns for `drain_accept_seconds`, then none, and let running ones finish.

        Returns when the drain is over; `on_tick` then lets uvicorn shut down.
        """
        if "opened" not in self._state:
            return
        turns, config = self._state["opened"].turns, self._state["config"]
        accept = config.drain_accept_seconds
        logger.info("server_leaving", connections=len(self.server_state.connections))
        await self._until_succeeded()
        # Every response from now on ends its connection, so that clients move to another server.
        for headers in (self.config.encoded_headers, self.server_state.default_headers):
            headers.append(CLOSE_HEADER)
        draining = asyncio.create_task(
            turns.drain(accept_seconds=accept, drain_seconds=config.drain_seconds)
        )
        await asyncio.wait([draining], timeout=accept)
        self._send_clients_away()
        await draining

    def _send_clients_away(self) -> None:
        """Close idle connections, so that their clients connect to another server."""
        if self._is_replaced:
            # Other workers accept on this socket. A lone server keeps it open for its probes.
            for server in self.servers:
                server.close()
        for connection in list(self.server_state.connections):
            # WebSockets have another class. They stay: `shutdown` would close them at once.
            if isinstance(connection, HttpToolsProtocol):
                connection.shutdown()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        cutting = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._cut_stalled)
        await super().shutdown(sockets=sockets)
        cutting.cancel()

    def _cut_stalled(self) -> None:
        for connection in list(self.server_state.connections):
            reset(connection.transport)


def close_stalled(listener: socket.socket, seconds: float) -> None:
    """Let the kernel close connections whose client has acknowledged nothing for `seconds`.

    This holds for connections accepted from now on. To close the transport is not enough: it waits
    until the client has read everything.
    """
    if sys.platform == "linux" and listener.family in (socket.AF_INET, socket.AF_INET6):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))
        # Detects a client that vanished while the server had nothing to send.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)


class _Config(uvicorn.Config):
    def load(self) -> None:
        """Import the application without garbage collection, which would take a fifth of a start.

        What an import makes lives until the end, so it is excluded from later collections too.
        """
        gc.disable()
        try:
            super().load()
        finally:
            gc.freeze()
            gc.enable()


def config_of(app: str | Callable[..., Any], **options: Any) -> uvicorn.Config:
    return _Config(
        app,
        loop="uvloop",
        http=HttpConnection,
        ws=WebSocketConnection,
        lifespan="on",
        # The application has its own log format and access log. uvicorn's would show the URL,
        # which contains the question in `GET /query`.
        log_config=None,
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        # The application reads the headers of trusted proxies itself (FORWARDED_ALLOW_IPS).
        proxy_headers=False,
        # A safety net: `_cut_stalled` ends all connections, and thereby all tasks, earlier.
        timeout_graceful_shutdown=2 * FLUSH_SECONDS,
        **options,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m backend.server", description="Run one worker.")
    parser.add_argument("--host", default=os.environ.get("HOST") or "127.0.0.1")
    parser.add_argument(
        "--port", default=os.environ.get("PORT") or "8000", help="0 picks a free one"
    )
    given = parser.parse_args()
    port = read_port(given.port, least=0)
    try_address(given.host, port)
    Server(config_of("backend.main:app", host=given.host, port=port)).run()
