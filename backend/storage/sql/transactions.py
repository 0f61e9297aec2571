"""Runs a function as one transaction, retries it, and translates its errors."""

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from backend.domain.errors import OutOfDescriptors, StorageError, StoreAway
from backend.network.file_descriptors import exhaustion_of
from backend.storage.sql.errors import Failure, failure_of, translated
from backend.storage.sql.sqlite_file import SqliteFile

logger = structlog.get_logger()

T = TypeVar("T")

RESTART_SECONDS = 2.0
"""How long transactions wait for an unreachable database: longer than a restart of Postgres.

After that, transactions fail at once until the database is back, or every request would wait.
"""

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.05, 0.5
"""The back-off between retries of one transaction."""

OF_DATABASE = (SQLAlchemyError, UnicodeError, OverflowError)
"""The errors of a transaction that are the database's.

The last two are a lone surrogate, and a number that is too large for SQLite.
"""


class Transactions:
    """Runs transactions in the calling thread. All threads of a database share it."""

    def __init__(self, file: SqliteFile | None) -> None:
        self.failures = 0
        """How many attempts have failed in the database until now."""
        self._file = file
        self._is_away = False
        self._closing = threading.Event()

    def close(self) -> None:
        """End the pauses between retries."""
        self._closing.set()

    def run(
        self,
        engine: Engine,
        call: Callable[[Connection], T],
        *,
        deadline: float,
        note: Callable[[Exception], None] | None = None,
    ) -> T:
        """Retry until the transaction commits, fails for good, or `deadline` would be missed.

        `note` gets the error of each failed attempt.

        Raises:
            StorageError: the database failed.
            Exception: whatever the function raises. The transaction is rolled back.
        """
        try:
            return self._persist(engine, call, deadline, note)
        except OF_DATABASE as error:
            raise failed(error) from error

    def _persist(
        self,
        engine: Engine,
        call: Callable[[Connection], T],
        deadline: float,
        note: Callable[[Exception], None] | None,
    ) -> T:
        begun, pauses, has_raced = time.monotonic(), _pauses(), False
        while True:
            attempt = _Attempt(engine, self._file, deadline)
            try:
                result = attempt.run(call)
            except SQLAlchemyError as error:
                self.failures += 1
                if note is not None:
                    note(error)
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
                raise silent()
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


def out_of_time(failures: Sequence[Exception]) -> StorageError:
    """The last attempt is still waiting, but the one before it may know the reason."""
    if failures and isinstance(told := failed(failures[-1]), StoreAway):
        return told
    return silent()


def silent() -> StoreAway:
    message = "The database does not answer."
    return StoreAway(message, reason=message)


def failed(error: Exception) -> StorageError:
    cause = exhaustion_of(error)
    if cause is None:
        return translated(error)
    logger.error("store_not_reached", cause=cause)
    return StoreAway(OutOfDescriptors.message, reason=cause)
