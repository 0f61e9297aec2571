"""The server around the application: uvicorn's, but one that serves on while the turns drain.

Stock uvicorn closes its listener as soon as it is told to stop, and with it every probe, every
resume and every WebSocket. `python -m backend.server` runs it; `gunicorn.py` runs it under
gunicorn. It finds what it needs of the application in the state of the lifespan.
"""

import argparse
import asyncio
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
"""For the last bytes of streams that have ended; then whoever has not taken them is cut."""

KEEP_ALIVE_SECONDS = 75
"""Proxies keep idle connections for up to 60 s. If we were the first to close one, a request
could be on its way."""


class Drainable(Protocol):
    async def drain(self, *, accept_seconds: float, drain_seconds: float) -> None: ...

    def hurry(self) -> None: ...


class Starting(Protocol):
    @property
    def failure(self) -> str | None:
        """The line with which a start ends that was still waiting for something."""
        ...

    @property
    def has_broken(self) -> bool:
        """Whether it will make no further attempt."""
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
    """The state that the application's lifespan must yield."""

    start: Starting
    config: Config
    opened: NotRequired[Opened]
    """Missing while the application waits for its store, and takes no turns."""


class Server(uvicorn.Server):
    """Told to stop, it serves on until the turns have drained, and only then shuts down.

    A second signal shortens every wait to nothing, in the same order. It serves already while
    the application waits for its store, which then refuses all but probes and metrics.
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
        """Wait until others take what comes: nobody does."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Take note, and leave it to the next tick: a signal may come in the middle of anything.

        uvicorn would raise the signal again at its end; here the exit code is 0.
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
        """At a second port. The application tells the two apart."""
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
        """Leave if the start has failed after all."""
        failure = self._state["start"].failure
        if failure is not None and not self._has_failed:
            logger.error(failure)
            self._has_failed = self.should_exit = True

    async def _leave(self) -> None:
        """Take turns a little longer, then none, and let those that run come to their end."""
        if "opened" not in self._state:
            return
        turns, config = self._state["opened"].turns, self._state["config"]
        accept = config.drain_accept_seconds
        logger.info("server_leaving", connections=len(self.server_state.connections))
        await self._until_succeeded()
        for headers in (self.config.encoded_headers, self.server_state.default_headers):
            headers.append(CLOSE_HEADER)
        draining = asyncio.create_task(
            turns.drain(accept_seconds=accept, drain_seconds=config.drain_seconds)
        )
        await asyncio.wait([draining], timeout=accept)
        self._send_clients_away()
        await draining

    def _send_clients_away(self) -> None:
        """Close idle connections, so that their clients ask another server from now on."""
        if self._is_replaced:
            for server in self.servers:
                server.close()
        for connection in list(self.server_state.connections):
            # A WebSocket has a connection of another class; `shutdown` would close it.
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
    """Let the kernel close connections, made from now on, whose client takes nothing for so long.

    Closing a transport is not enough: it waits for what is still to be read.
    """
    if sys.platform == "linux" and listener.family in (socket.AF_INET, socket.AF_INET6):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))
        # For a client that is gone while nothing is being sent to it.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)


def config_of(app: str | Callable[..., Any], **options: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="uvloop",
        http=HttpConnection,
        ws=WebSocketConnection,
        lifespan="on",
        # The application has a renderer and an access log of its own: the path of a request may
        # carry what somebody asked.
        log_config=None,
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        # The application believes proxies itself, by its settings.
        proxy_headers=False,
        # Never reached as long as a connection that is cut ends its task.
        timeout_graceful_shutdown=2 * FLUSH_SECONDS,
        **options,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m backend.server", description="One worker.")
    parser.add_argument("--host", default=os.environ.get("HOST") or "127.0.0.1")
    parser.add_argument("--port", default=os.environ.get("PORT") or "8000", help="0 is any")
    given = parser.parse_args()
    port = read_port(given.port, least=0)
    try_address(given.host, port)
    Server(config_of("backend.main:app", host=given.host, port=port)).run()
