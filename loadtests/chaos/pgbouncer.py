"""A PgBouncer from Debian's package that lends a few connections to Postgres, by transaction."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from infrastructure.ports import free_port
from loadtests.chaos.processes import started, stop, until_it_listens

CONNECTIONS = 4
"""Connections to Postgres, for any number of clients."""


class PgBouncer:
    def __init__(self, folder: Path, *, socket: Path, **options: str) -> None:
        """`socket` is the folder of Postgres' socket; `options` replace those of the file.

        As root, the user of Postgres must be able to read `folder`.
        """
        self._folder = folder
        self._port = free_port()
        self._socket = socket
        self._options = {
            "listen_addr": "127.0.0.1",
            "listen_port": str(self._port),
            "unix_socket_dir": "",
            "auth_type": "any",
            "pool_mode": "transaction",
            "default_pool_size": str(CONNECTIONS),
            "max_client_conn": "500",
            "server_login_retry": "1",
            **options,
        }
        self._process: asyncio.subprocess.Process | None = None

    def url(self, database: str) -> str:
        return f"postgresql://lex@127.0.0.1:{self._port}/{database}"

    async def start(self) -> None:
        program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")
        if program is None:
            sys.exit("pgbouncer is missing: make system-deps")
        file = self._folder / f"pgbouncer-{self._port}.ini"
        options = "".join(f"{name} = {value}\n" for name, value in self._options.items())
        databases = f"[databases]\n* = host={self._socket} user=postgres\n"
        file.write_text(f"{databases}[pgbouncer]\n{options}")
        # It refuses to run as root.
        user = self._socket.owner() if os.geteuid() == 0 else None
        log = self._folder / "pgbouncer.log"
        self._process = await started(program, str(file), log=log, user=user)
        await until_it_listens(self._port)

    async def stop(self, *, at_once: bool = False) -> None:
        """Close all connections, after their transactions unless it is `at_once`."""
        if self._process is not None:
            await stop(self._process, signal.SIGTERM if at_once else signal.SIGINT)
            self._process = None


@asynccontextmanager
async def pgbouncer(folder: Path, *, socket: Path, **options: str) -> AsyncIterator[PgBouncer]:
    pooler = PgBouncer(folder, socket=socket, **options)
    await pooler.start()
    try:
        yield pooler
    finally:
        await pooler.stop(at_once=True)
