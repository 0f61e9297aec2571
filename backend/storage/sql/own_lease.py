"""Remembers when this worker's lease was renewed, so that few claims have to look."""

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Connection

from backend.storage.sql import leases


class OwnLease:
    """The lease of a worker of this process, as its last renewals left it.

    A renewal counts for half of a lease by the database's clock, so a jump of that clock shows. It
    does not count after any failed transaction: a database that failed over may have lost it.
    """

    def __init__(self, lease_seconds: float, *, failures: Callable[[], int]) -> None:
        """`failures` counts the failed transactions of the database."""
        self._lease_seconds = lease_seconds
        self._failures = failures
        self._renewed: dict[str, tuple[float, int]] = {}

    def renewed(self, worker: str, at: float, *, failures_before: int) -> None:
        """Report a committed renewal. `failures_before` is the count from before it began."""
        self._renewed[worker] = at, failures_before

    def retired(self, worker: str) -> None:
        self._renewed.pop(worker, None)

    def ensure(self, connection: Connection, worker: str, at: datetime) -> None:
        """Make sure that the worker has a lease. `at` is now, by the database's clock."""
        renewed_at, failures_before = self._renewed.get(worker, (None, 0))
        is_fresh = (
            renewed_at is not None
            and failures_before == self._failures()
            and 0 <= at.timestamp() - renewed_at < self._lease_seconds / 2
        )
        if not is_fresh:
            leases.ensure(connection, worker, self._lease_seconds)
