"""The threads of a database, and the transactions that wait for them.

Small transactions of one moment share a thread hop and a commit, if the database allows: those that
queued while the thread was busy. Nothing waits for company.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy import Connection, Engine

from backend.storage.sql.transactions import OF_DATABASE, Transactions, silent

MOST_AT_ONCE = 16
"""Transactions that share a commit at most, because the first one's caller waits for the last."""


class Job:
    """A function that waits for a thread, and the future of its caller.

    It never starts after its caller has given up. After its start it runs to its end, because a
    thread cannot be stopped.
    """

    __slots__ = ("_error", "_result", "call", "deadline", "failures", "future", "is_small")

    def __init__(
        self,
        call: Callable[[Connection], Any],
        future: "asyncio.Future[Any]",
        *,
        deadline: float,
        is_small: bool,
    ) -> None:
        """`deadline` is by `time.monotonic`. `is_small` lets it share a commit."""
        self.call = call
        self.future = future
        self.deadline = deadline
        self.is_small = is_small
        self.failures: list[Exception] = []
        """The errors of failed attempts, which may be the reason of a time-out."""
        self._result: Any = None
        self._error: BaseException | None = None

    @property
    def is_wanted(self) -> bool:
        return not self.future.done()

    def succeed(self, result: object) -> None:
        self._result, self._error = result, None

    def fail(self, error: BaseException) -> None:
        self._result, self._error = None, error

    def answer(self) -> None:
        """Pass the outcome to the caller, in the thread of its event loop."""
        if self.future.done():
            return
        if self._error is None:
            self.future.set_result(self._result)
        else:
            self.future.set_exception(self._error)


class Threads:
    """A thread for each connection, so a transaction with a thread never waits for a connection."""

    def __init__(
        self, engine: Engine, transactions: Transactions, size: int, *, shares_commits: bool = False
    ) -> None:
        """`shares_commits` needs `size` 1: two shared transactions could wait for each other."""
        self.engine = engine
        self._transactions = transactions
        self._most = MOST_AT_ONCE if shares_commits else 1
        self._waiting: deque[Job] = deque()
        self._taking = threading.Lock()
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="database")

    def submit(self, job: Job) -> None:
        """Raises: RuntimeError, if the threads were shut down."""
        self._waiting.append(job)
        self._threads.submit(self._run_next)

    def shutdown(self) -> None:
        """Wait for the transactions that were submitted."""
        self._threads.shutdown()

    def _run_next(self) -> None:
        """Run the jobs that wait, or nothing if an earlier call has run them already."""
        jobs = self._take()
        if not jobs:
            return
        if len(jobs) == 1:
            self._run_alone(jobs[0])
        else:
            self._run_together(jobs)
        loop = jobs[0].future.get_loop()
        if not loop.is_closed():
            loop.call_soon_threadsafe(_answer, jobs)

    def _take(self) -> Sequence[Job]:
        jobs: list[Job] = []
        with self._taking:
            while self._waiting and len(jobs) < self._most:
                if jobs and not (jobs[0].is_small and self._waiting[0].is_small):
                    break
                job = self._waiting.popleft()
                if job.is_wanted:
                    jobs.append(job)
        return jobs

    def _run_alone(self, job: Job) -> None:
        try:
            job.succeed(
                self._transactions.run(
                    self.engine, job.call, deadline=job.deadline, note=job.failures.append
                )
            )
        except BaseException as error:  # noqa: BLE001 - the caller gets it, whatever it is
            job.fail(error)

    def _run_together(self, jobs: Sequence[Job]) -> None:
        def note(error: Exception) -> None:
            for job in jobs:
                job.failures.append(error)

        group = _Group(jobs)
        deadline = max(job.deadline for job in jobs)
        try:
            self._transactions.run(self.engine, group, deadline=deadline, note=note)
        except _Spoilt:
            for job in jobs:
                self._run_alone(job)
        except BaseException as error:  # noqa: BLE001 - the callers get it, whatever it is
            for job in jobs:
                job.fail(error)


class _Spoilt(Exception):
    """The database failed in one of several transactions, and may have lost the others' work."""


class _Group:
    """Several functions as one transaction, each with an outcome and a savepoint of its own."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = jobs

    def __call__(self, connection: Connection) -> None:
        """Raises: _Spoilt."""
        for job in self._jobs:
            try:
                self._run(job, connection)
            except OF_DATABASE as error:
                raise _Spoilt from error

    def _run(self, job: Job, connection: Connection) -> None:
        if time.monotonic() > job.deadline:
            job.fail(silent())
            return
        connection.exec_driver_sql("SAVEPOINT own")
        try:
            job.succeed(job.call(connection))
        except OF_DATABASE:
            raise
        except BaseException as error:  # noqa: BLE001 - the caller gets it, whatever it is
            connection.exec_driver_sql("ROLLBACK TO own")
            job.fail(error)
        connection.exec_driver_sql("RELEASE own")


def _answer(jobs: Sequence[Job]) -> None:
    for job in jobs:
        job.answer()
