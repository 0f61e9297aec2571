"""Runs transactions in threads, retries them, and translates their errors."""

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from backend.domain.errors import OutOfDescriptors, StorageError, StoreAway
from backend.network.file_descriptors import exhaustion_of
from backend.storage.sql.database_url import parse
from backend.storage.sql.errors import Failure, failure_of, translated
from backend.storage.sql.postgres_engine import POOL_SIZE, Prepared, postgres_engine
from backend.storage.sql.sqlite_engines import SQLITE_READERS, sqlite_readers, sqlite_writer
from backend.storage.sql.sqlite_file import SqliteFile
from backend.telemetry import metrics, turn_clock, wait_spans

logger = structlog.get_logger()

P = ParamSpec("P")
T = TypeVar("T")

TIMEOUT_SECONDS = 10.0
"""Time-out of a transaction, including its wait for a thread."""

RESTART_SECONDS = 2.0
"""How long transactions wait for an unreachable database: longer than a restart of Postgres.

After that, transactions fail at once until the database is back, or every request would wait.
"""

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.05, 0.5
"""The back-off between retries of one transaction."""


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
        self._file: SqliteFile | None = None
        if url.get_backend_name() == "sqlite":
            self._open_sqlite(url)
        else:
            engine = postgres_engine(url, connections=pool_size, prepared=prepared)
            self._writing = self._reading = _Pool(engine, pool_size)
        self._is_away = False
        self._closing = threading.Event()

    def _open_sqlite(self, url: URL) -> None:
        self._file = SqliteFile(str(url.database))
        self._writing = _Pool(sqlite_writer(url, self._file), 1)
        self._reading = _Pool(sqlite_readers(url, self._file), SQLITE_READERS)

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
        return await self._hop(self._writing, function, *args, **kwargs)

    async def read(
        self,
        function: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Like `run`, for a function that only reads: on SQLite it never waits for a writer."""
        return await self._hop(self._reading, function, *args, **kwargs)

    async def _hop(
        self,
        pool: "_Pool",
        function: Callable[Concatenate[Connection, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        def call(connection: Connection) -> T:
            return function(connection, *args, **kwargs)

        operation = _name_of(function)
        pending: asyncio.Future[T] | None = None
        begun = time.perf_counter()
        deadline = time.monotonic() + self._timeout_seconds
        # Filled by the thread, and read here after a time-out, to name the reason.
        failures: list[Exception] = []
        transaction = partial(self._transact, pool.engine, call, deadline, failures)
        try:
            pending = asyncio.get_running_loop().run_in_executor(pool.threads, transaction)
            with (
                turn_clock.current().store(),
                wait_spans.transaction(operation, failures=(StorageError, TimeoutError)),
            ):
                async with asyncio.timeout(self._timeout_seconds):
                    # After the time-out, a transaction that still waits for a thread never starts.
                    # After its start it runs to its end, because a thread cannot be stopped.
                    return await pending
        except TimeoutError as error:
            raise _out_of_time(failures) from error
        except RuntimeError as error:
            if pending is None:
                raise StorageError from error  # the pool was shut down
            raise
        finally:
            metrics.transaction_ended(operation, time.perf_counter() - begun)

    def transact(
        self,
        function: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Like `run`, but in the calling thread. For scripts without an event loop."""

        def call(connection: Connection) -> T:
            return function(connection, *args, **kwargs)

        return self._transact(
            self._writing.engine, call, time.monotonic() + self._timeout_seconds, []
        )

    def _transact(
        self,
        engine: Engine,
        call: Callable[[Connection], T],
        deadline: float,
        failures: list[Exception],
    ) -> T:
        try:
            return self._persist(engine, call, deadline, failures)
        except (SQLAlchemyError, UnicodeError, OverflowError) as error:
            # The last two are a lone surrogate, and a number that is too large for SQLite.
            raise _failed(error) from error

    def _persist(
        self,
        engine: Engine,
        call: Callable[[Connection], T],
        deadline: float,
        failures: list[Exception],
    ) -> T:
        """Retry until the transaction commits, fails for good, or `deadline` would be missed.

        Appends the error of each failed attempt to `failures`.
        """
        begun, pauses, has_raced = time.monotonic(), _pauses(), False
        while True:
            attempt = _Attempt(engine, self._file, deadline)
            try:
                result = attempt.run(call)
            except SQLAlchemyError as error:
                failures.append(error)
                failure = failure_of(error)
                if failure is Failure.LOST_RACE and not has_raced:
                    # Retry once without a pause: the other transaction has finished. The database
                    # rolled this one back, even if it failed in its commit.
                    has_raced = True
                    continue
                if attempt.may_have_committed:
                    # The reply to the commit was lost. A second run might take effect twice.
                    raise
                if failure is Failure.UNREACHABLE and time.monotonic() - begun > RESTART_SECONDS:
                    self._is_away = True
                if not self._is_worth_a_wait(failure):
                    raise
                pause = next(pauses)
                if time.monotonic() + pause > deadline or self._closing.wait(pause):
                    raise
            else:
                self._is_away = False
                return result

    def _is_worth_a_wait(self, failure: Failure) -> bool:
        return failure is Failure.BUSY or (failure is Failure.UNREACHABLE and not self._is_away)

    async def close(self) -> None:
        """Wait for started transactions, then close all connections."""
        await asyncio.to_thread(self.dispose)

    def dispose(self) -> None:
        self._closing.set()
        for pool in (self._writing, self._reading):
            pool.threads.shutdown()
        for pool in (self._writing, self._reading):
            pool.engine.dispose()


class _Pool:
    """A thread for each connection, so a transaction with a thread never waits for a connection."""

    def __init__(self, engine: Engine, size: int) -> None:
        self.engine = engine
        self.threads = ThreadPoolExecutor(size, thread_name_prefix="database")


class _Attempt:
    """One attempt at a transaction. If it fails after `may_have_committed`, its fate is unknown."""

    def __init__(self, engine: Engine, file: SqliteFile | None, deadline: float) -> None:
        self._engine = engine
        self._file = file
        self._deadline = deadline
        self.may_have_committed = False

    def run(self, call: Callable[[Connection], T]) -> T:
        self._check_file()
        with self._engine.begin() as connection:
            if time.monotonic() > self._deadline:
                # A pooler had no free connection, and the caller has given up.
                raise _silent()
            result = call(connection)
            # Right before the commit: SQLite would write to a file that was deleted meanwhile, and
            # an acknowledged commit would be lost.
            self._check_file()
            self.may_have_committed = True
        return result

    def _check_file(self) -> None:
        if self._file is not None:
            self._file.check()


def _pauses() -> Iterator[float]:
    """Yield the back-off in seconds, with jitter so that threads do not retry in step."""
    pause = FIRST_PAUSE_SECONDS
    while True:
        yield pause * random.uniform(0.5, 1)  # noqa: S311 - no secret
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def _out_of_time(failures: Sequence[Exception]) -> StorageError:
    """The last attempt is still waiting, but the one before it may know the reason."""
    if failures and isinstance(told := _failed(failures[-1]), StoreAway):
        return told
    return _silent()


def _silent() -> StoreAway:
    message = "The database does not answer."
    return StoreAway(message, reason=message)


def _failed(error: Exception) -> StorageError:
    cause = exhaustion_of(error)
    if cause is None:
        return translated(error)
    logger.error("store_not_reached", cause=cause)
    return StoreAway(OutOfDescriptors.message, reason=cause)


def _name_of(function: object) -> str:
    return str(getattr(function, "__name__", "other")).lstrip("_")
