"""Whether this worker may take others for dead."""

import math
import time
from collections.abc import Callable

LATE_AFTER_LEASES = 2 / 3
"""Renewals come every third of a lease, so one was missed or took long. If all workers missed
another one, the leases of the living would run out."""


class FailureDetector:
    """Only a worker that renews its own lease in time may say that others do not.

    A database that was away comes back with the leases of all workers expired, and a worker that
    was frozen does not know what happened meanwhile. So after a start, a renewal that failed and
    one that came late, nobody is judged for one lease: all who live renew theirs within it.
    """

    def __init__(
        self, lease_seconds: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._suspended_until = -math.inf
        self._renewed_at: float | None = None

    def suspend(self) -> None:
        self._suspended_until = self._clock() + self._lease_seconds

    def renewed(self) -> None:
        """This worker has stored that it lives."""
        if self._is_late:
            self.suspend()
        self._renewed_at = self._clock()

    def lost_after_seconds(self) -> float:
        """A worker that is silent for longer is gone. To be asked where it is used: a transaction
        may have waited for its database.
        """
        is_suspended = self._clock() < self._suspended_until or self._is_late
        # Infinity goes into the SQL as it is: no lease is as old, so all workers count as alive.
        return math.inf if is_suspended else self._lease_seconds

    @property
    def _is_late(self) -> bool:
        late_seconds = LATE_AFTER_LEASES * self._lease_seconds
        return self._renewed_at is not None and self._clock() - self._renewed_at > late_seconds
