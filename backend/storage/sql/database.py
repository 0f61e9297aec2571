"""The database: its engine, its threads, and what its errors become."""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from backend.errors import StorageError
from backend.telemetry import metrics, tracing

P = ParamSpec("P")
T = TypeVar("T")

POSTGRES_THREADS = 8
SQLITE_BUSY_MS = 5_000
PATIENCE_SECONDS = 10.0
"""For a transaction and its wait for a thread; past it the caller is told, and may leave."""

# What one session's transactions can make all others wait for.
POSTGRES_LIMITS = (
    "SET lock_timeout = '5s'; SET statement_timeout = '8s'; "
    "SET idle_in_transaction_session_timeout = '30s'"
)
POSTGRES_OPTIONS = {
    "application_name": "lex",
    "connect_timeout": "5",
    # A host that vanished is noticed after 10 s without a word, and 10 s of asking.
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "2",
    "tcp_user_timeout": "10000",
}
_LOST_RACES = {"40001", "40P01"}  # serialization_failure, deadlock_detected


class Database:
    """One engine, and as many threads as it has connections.

    SQLite has one writer, so it gets one thread: transactions queue there instead of
    sleeping on its lock.
    """

    def __init__(self, database_url: str) -> None:
        url = _parse(database_url)
        if url.get_backend_name() == "sqlite":
            threads, self._engine = 1, _sqlite(url)
        else:
            threads, self._engine = POSTGRES_THREADS, _postgres(url)
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="database")

    async def run(
        self,
        function: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """One transaction in one thread hop. A started one commits even if its caller leaves.

        Raises: StorageError, and whatever the function raises; both roll back.
        """
        pending: asyncio.Future[T] | None = None
        begun = time.perf_counter()
        transaction = partial(self.transact, function, *args, **kwargs)
        try:
            pending = asyncio.get_running_loop().run_in_executor(self._executor, transaction)
            with tracing.transaction(_name_of(function)):
                async with asyncio.timeout(PATIENCE_SECONDS):
                    return await pending
        except TimeoutError as error:
            raise StorageError("The database does not answer.") from error
        except RuntimeError as error:
            if pending is None:
                raise StorageError from error  # closed
            raise
        finally:
            metrics.transaction_ended(_name_of(function), time.perf_counter() - begun)

    def transact(
        self,
        function: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """The same without the hop."""
        try:
            return self._attempt(function, *args, **kwargs)
        except (SQLAlchemyError, UnicodeError, OverflowError) as error:
            # The last two: a lone surrogate, and a number that SQLite cannot hold.
            raise StorageError from error

    def _attempt(
        self,
        function: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        try:
            with self._engine.begin() as connection:
                return function(connection, *args, **kwargs)
        except DBAPIError as error:
            if not _lost_a_race(error):
                raise
        with self._engine.begin() as connection:
            return function(connection, *args, **kwargs)

    async def close(self) -> None:
        """Let what has started finish, then let go of every connection."""
        await asyncio.to_thread(self.dispose)

    def dispose(self) -> None:
        self._executor.shutdown()
        self._engine.dispose()


def _name_of(function: object) -> str:
    return str(getattr(function, "__name__", "other")).lstrip("_")


def _parse(database_url: str) -> URL:
    try:
        url = make_url(database_url)
    except (ArgumentError, ValueError):
        # Without its cause, which may quote a piece of the password.
        raise StorageError("The database URL cannot be read.") from None
    match url.drivername:
        case "sqlite" if url.database in (None, "", ":memory:"):
            raise StorageError("SQLite needs a file; for a store in memory say memory://.")
        case "sqlite" | "postgresql+psycopg":
            return url
        case "postgres" | "postgresql":
            return url.set(drivername="postgresql+psycopg")
    raise StorageError(f"There is no store for {url.drivername}:// URLs.")


def _postgres(url: URL) -> Engine:
    engine = create_engine(
        url.set(query={**POSTGRES_OPTIONS, **url.query}),
        pool_size=POSTGRES_THREADS,
        max_overflow=0,
        pool_pre_ping=True,
        hide_parameters=True,  # errors are logged; what people said is not
    )
    event.listen(engine, "connect", _limit_postgres)
    return engine


def _limit_postgres(connection: Any, _record: object) -> None:
    connection.execute(POSTGRES_LIMITS)
    connection.commit()


def _sqlite(url: URL) -> Engine:
    engine = create_engine(url, pool_size=1, max_overflow=0, hide_parameters=True)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself; we do, below
    connection.execute(f"PRAGMA busy_timeout = {SQLITE_BUSY_MS}")
    _write_ahead(connection)
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")


def _write_ahead(connection: Any) -> None:
    """Of several who open a new file at once, all but one are told at once that it is locked:
    for this change of mode SQLite does not wait for `busy_timeout`.
    """
    deadline = time.monotonic() + SQLITE_BUSY_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)  # in the database's own thread
        else:
            return


def _begin_immediate(connection: Connection) -> None:
    # A transaction that reads first and writes later cannot wait for the lock in between.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _lost_a_race(error: DBAPIError) -> bool:
    return getattr(error.orig, "sqlstate", None) in _LOST_RACES
