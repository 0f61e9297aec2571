"""Decides whether this worker may consider other workers dead."""

import math
import time
from collections.abc import Callable

LATE_AFTER_LEASES = 2 / 3
"""A renewal is due every third of a lease, so this late one was missed or slow.

If the database caused that, one more missed renewal would expire the leases of live workers.
"""


class FailureDetector:
    """Suspends judgement on other workers unless this worker renews its own lease in time.

    After a database outage, the leases of all workers have expired, even of live ones. A worker
    that was frozen does not know what happened meanwhile. So for one lease after a start, a failed
    renewal or a late one, all workers count as alive. The live ones renew their leases meanwhile.
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
        """Report that this worker has renewed its lease."""
        if self._is_late:
            self.suspend()
        self._renewed_at = self._clock()

    def lost_after_seconds(self) -> float:
        """Seconds of silence after which a worker is dead; infinite while judgement is suspended.

        Call it inside the transaction: before that, the transaction may have waited for long.
        """
        is_suspended = self._clock() < self._suspended_until or self._is_late
        # SQL handles infinity as well: no lease is that old, so all workers count as alive.
        return math.inf if is_suspended else self._lease_seconds

    @property
    def _is_late(self) -> bool:
        late_seconds = LATE_AFTER_LEASES * self._lease_seconds
        return self._renewed_at is not None and self._clock() - self._renewed_at > late_seconds
