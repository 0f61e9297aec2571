"""The database: its threads, its transactions, and what their errors become."""

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
from backend.storage.sql.engines import (
    POSTGRES_THREADS,
    SQLITE_READERS,
    postgres_engine,
    sqlite_readers,
    sqlite_writer,
)
from backend.storage.sql.errors import Failure, failure_of, translated
from backend.storage.sql.sqlite_file import SqliteFile
from backend.telemetry import metrics, tracing

logger = structlog.get_logger()

P = ParamSpec("P")
T = TypeVar("T")

TIMEOUT_SECONDS = 10.0
"""For a transaction and its wait for a thread; past it the caller is told, and may leave."""

RESTART_SECONDS = 2.0
"""Longer than Postgres takes connections from nobody while it restarts. A server that is away
for longer is told of at once from then on, or every request would wait for it."""

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.05, 0.5


class Database:
    """Engines, and for each as many threads as it has connections.

    SQLite has one writer, so writing has one thread: transactions queue there instead of
    sleeping on its lock. No writer holds up its readers, which have threads of their own.
    """

    def __init__(self, database_url: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        url = parse(database_url)
        self._timeout_seconds = timeout_seconds
        self._file: SqliteFile | None = None
        if url.get_backend_name() == "sqlite":
            self._open_sqlite(url)
        else:
            self._writing = self._reading = _Pool(postgres_engine(url), POSTGRES_THREADS)
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
        """One transaction in one thread hop. A started one commits even if its caller leaves.
        The function's name is what metrics and spans call it.

        It may be called again, if the database was lost or busy before it was told to commit.

        Raises: StorageError (NotStorable, if what was to be stored is at fault), and whatever the
        function raises; both roll back.
        """
        return await self._hop(self._writing, function, *args, **kwargs)

    async def read(
        self,
        function: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """The same of a function that only reads: it waits for no writer."""
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
        failures: list[Exception] = []
        transaction = partial(self._transact, pool.engine, call, deadline, failures)
        try:
            pending = asyncio.get_running_loop().run_in_executor(pool.threads, transaction)
            with tracing.transaction(operation, failures=(StorageError, TimeoutError)):
                async with asyncio.timeout(self._timeout_seconds):
                    # Given up, it is never begun if it still queues for its thread. A thread
                    # cannot be stopped: what it has begun goes on to its end.
                    return await pending
        except TimeoutError as error:
            raise _out_of_time(failures) from error
        except RuntimeError as error:
            if pending is None:
                raise StorageError from error  # closed
            raise
        finally:
            metrics.transaction_ended(operation, time.perf_counter() - begun)

    def transact(
        self,
        function: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """`run` without the hop."""

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
            # The last two: a lone surrogate, and a number that SQLite cannot hold.
            raise _failed(error) from error

    def _persist(
        self,
        engine: Engine,
        call: Callable[[Connection], T],
        deadline: float,
        failures: list[Exception],
    ) -> T:
        """Try until it commits, it fails for a reason of its own, or its time is up. Attempts that
        failed are added to `failures`.
        """
        begun, pauses, has_raced = time.monotonic(), _pauses(), False
        while True:
            attempt = _Attempt(engine, self._file)
            try:
                result = attempt.run(call)
            except SQLAlchemyError as error:
                failures.append(error)
                failure = failure_of(error)
                if failure is Failure.LOST_RACE and not has_raced:
                    # Without a pause: whoever has won is done. It was rolled back, so nothing
                    # of it is there.
                    has_raced = True
                    continue
                if attempt.may_have_committed:
                    # The answer to the commit was lost. Run twice, it might take effect twice.
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
        """Let what has started finish, then let go of every connection."""
        await asyncio.to_thread(self.dispose)

    def dispose(self) -> None:
        self._closing.set()
        for pool in (self._writing, self._reading):
            pool.threads.shutdown()
        for pool in (self._writing, self._reading):
            pool.engine.dispose()


class _Pool:
    """Connections, and a thread for each: a transaction that has a thread has a connection."""

    def __init__(self, engine: Engine, size: int) -> None:
        self.engine = engine
        self.threads = ThreadPoolExecutor(size, thread_name_prefix="database")


class _Attempt:
    """One transaction. While `may_have_committed` nobody knows what became of a failed one."""

    def __init__(self, engine: Engine, file: SqliteFile | None) -> None:
        self._engine = engine
        self._file = file
        self.may_have_committed = False

    def run(self, call: Callable[[Connection], T]) -> T:
        self._check_file()
        with self._engine.begin() as connection:
            result = call(connection)
            # Right before the commit: SQLite would write to a file that was deleted meanwhile,
            # and what is acknowledged then is lost.
            self._check_file()
            self.may_have_committed = True
        return result

    def _check_file(self) -> None:
        if self._file is not None:
            self._file.check()


def _pauses() -> Iterator[float]:
    """With jitter, or all threads would come back at once."""
    pause = FIRST_PAUSE_SECONDS
    while True:
        yield pause * random.uniform(0.5, 1)  # noqa: S311 - no secret
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def _out_of_time(failures: Sequence[Exception]) -> StorageError:
    """The last attempt is still waiting; the one before it may have been told the reason."""
    if failures and isinstance(told := _failed(failures[-1]), StoreAway):
        return told
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
