"""Runs transactions in threads, with a time-out, metrics and spans."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection
from sqlalchemy.engine import URL

from backend.domain.errors import StorageError
from backend.storage.sql.database_url import parse
from backend.storage.sql.postgres_engine import POOL_SIZE, Prepared, postgres_engine
from backend.storage.sql.sqlite_engines import SQLITE_READERS, sqlite_readers, sqlite_writer
from backend.storage.sql.sqlite_file import SqliteFile
from backend.storage.sql.threads import Job, Threads
from backend.storage.sql.transactions import Transactions, out_of_time
from backend.telemetry import metrics, turn_clock, wait_spans

P = ParamSpec("P")
T = TypeVar("T")

TIMEOUT_SECONDS = 10.0
"""Time-out of a transaction, including its wait for a thread."""


class Database:
    """One or two engines, each with one thread per connection.

    SQLite allows one writer at a time. So its writes share one thread and queue there, instead of
    sleeping on SQLite's lock. Its readers have threads of their own, and never wait for the writer.
    """

    def __init__(
        self,
        database_url: str,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        pool_size: int = POOL_SIZE,
        prepared: Prepared = "auto",
    ) -> None:
        """`pool_size` and `prepared` are for Postgres. Raises: StorageError, for a wrong URL."""
        url = parse(database_url)
        self._timeout_seconds = timeout_seconds
        if url.get_backend_name() == "sqlite":
            self._open_sqlite(url)
        else:
            engine = postgres_engine(url, connections=pool_size, prepared=prepared)
            self._transactions = Transactions(None)
            self._writing = self._reading = Threads(engine, self._transactions, pool_size)

    def _open_sqlite(self, url: URL) -> None:
        file = SqliteFile(str(url.database))
        self._transactions = Transactions(file)
        writer, readers = sqlite_writer(url, file), sqlite_readers(url, file)
        self._writing = Threads(writer, self._transactions, 1, shares_commits=True)
        self._reading = Threads(readers, self._transactions, SQLITE_READERS)

    async def run(
        self,
        function: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run the function as one transaction, in a thread.

        A started transaction runs to its end even if the caller is cancelled. If the database
        fails before the commit is sent, the function may be called again. Metrics and spans use
        the function's name.

        Raises:
            NotStorable: the database cannot hold the content.
            StorageError: any other failure of the database, or no result in time.
            Exception: whatever the function raises. The transaction is rolled back.
        """
        return await self._hop(self._writing, function, args, kwargs)

    async def run_small(
        self,
        function: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Like `run`, for a short function that runs often: on SQLite it may share a commit.

        If another one of the same commit fails, the function may be called again.
        """
        return await self._hop(self._writing, function, args, kwargs, is_small=True)

    async def read(
        self,
        function: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Like `run`, for a function that only reads: on SQLite it never waits for a writer."""
        return await self._hop(self._reading, function, args, kwargs)

    async def _hop(
        self,
        threads: Threads,
        function: Callable[..., T],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        is_small: bool = False,
    ) -> T:
        operation = _name_of(function)
        begun = time.perf_counter()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        job = Job(
            lambda connection: function(connection, *args, **kwargs),
            future,
            deadline=time.monotonic() + self._timeout_seconds,
            is_small=is_small,
        )
        timer = loop.call_later(self._timeout_seconds, _give_up, job)
        try:
            with (
                turn_clock.current().store(),
                wait_spans.transaction(operation, failures=(StorageError,)),
            ):
                _submit(threads, job)
                return await future
        finally:
            timer.cancel()
            metrics.transaction_ended(operation, time.perf_counter() - begun)

    def transact(
        self,
        function: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Like `run`, but in the calling thread. For scripts without an event loop."""
        return self._transactions.run(
            self._writing.engine,
            lambda connection: function(connection, *args, **kwargs),
            deadline=time.monotonic() + self._timeout_seconds,
        )

    @property
    def failures(self) -> int:
        """How many attempts at a transaction have failed in the database until now."""
        return self._transactions.failures

    async def close(self) -> None:
        """Wait for started transactions, then close all connections."""
        await asyncio.to_thread(self.dispose)

    def dispose(self) -> None:
        self._transactions.close()
        for threads in (self._writing, self._reading):
            threads.shutdown()
        for threads in (self._writing, self._reading):
            threads.engine.dispose()


def _submit(threads: Threads, job: Job) -> None:
    try:
        threads.submit(job)
    except RuntimeError as error:  # the threads were shut down
        raise StorageError from error


def _give_up(job: Job) -> None:
    if job.is_wanted:
        job.future.set_exception(out_of_time(job.failures))


def _name_of(function: object) -> str:
    return str(getattr(function, "__name__", "other")).lstrip("_")
