"""A real primary and a real streaming standby, which may take over."""

import asyncio
import signal
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg

from infrastructure.ports import free_port
from loadtests.chaos.postgres import prepared
from loadtests.chaos.processes import started, stop
from loadtests.chaos.waiting import until

Row = tuple[Any, ...]


class Server:
    """One of the two, on a TCP port."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.port = free_port()
        self._log = folder / "log"
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    async def start(self, program: Path, user: str | None) -> None:
        # There is no power failure, and a commit survives if only Postgres dies.
        options = ("-c", "fsync=off", "-c", f"unix_socket_directories={self.data}")
        command = (str(program), "-D", str(self.data), "-p", str(self.port), *options)
        self._process = await started(*command, log=self._log, user=user)
        await until(self._answers)

    async def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Stop it; with SIGQUIT at once, as in a crash."""
        if self._process is not None:
            await stop(self._process, number)
            self._process = None

    async def configure(self, setting: str) -> None:
        await self.execute(f"ALTER SYSTEM SET {setting}")
        await self.execute("SELECT pg_reload_conf()")

    async def execute(self, statement: str) -> Sequence[Row]:
        connecting = psycopg.AsyncConnection.connect(self.url, autocommit=True)
        async with await connecting as connection:
            cursor = await connection.execute(statement.encode())
            return await cursor.fetchall() if cursor.description else []

    async def _answers(self) -> bool:
        try:
            await self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


class PostgresPair:
    """A commit is acknowledged when both have it, until the standby is promoted."""

    def __init__(self, folder: Path) -> None:
        self.primary = Server(folder / "primary")
        self.standby = Server(folder / "standby")

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{each.port}" for each in (self.primary, self.standby))
        return f"postgresql://postgres@{hosts}/postgres"

    async def start(self) -> None:
        name, user = await asyncio.to_thread(prepared, self.primary.data)
        program = Path(name)
        await self.primary.start(program, user)
        copy = (
            "-D",
            str(self.standby.data),
            "-R",
            "--no-sync",
            "-c",
            "fast",
            "-d",
            self.primary.url,
        )
        log = self.standby.data.parent / "log"
        copying = await started(str(program.with_name("pg_basebackup")), *copy, log=log, user=user)
        assert await copying.wait() == 0, log.read_text()
        await self.standby.start(program, user)
        # Without it, a commit that was acknowledged could be missing on the standby.
        await self.primary.configure("synchronous_standby_names = '*'")

    async def promote(self) -> None:
        """Make the standby the primary."""
        await self.standby.execute("SELECT pg_promote()")

    async def stop(self) -> None:
        await self.standby.stop(signal.SIGQUIT)
        await self.primary.stop(signal.SIGQUIT)


@asynccontextmanager
async def postgres_pair() -> AsyncIterator[PostgresPair]:
    # pytest's own folders are private, and as root the servers run as another user.
    with tempfile.TemporaryDirectory(prefix="lex-postgres-") as folder:
        pair = PostgresPair(_open_to_all(Path(folder)))
        try:
            await pair.start()
            yield pair
        finally:
            await pair.stop()


def _open_to_all(folder: Path) -> Path:
    folder.chmod(0o755)
    for name in ("primary", "standby"):
        (folder / name).mkdir()
        (folder / name).chmod(0o777)  # pg_basebackup creates the standby's data
    return folder
