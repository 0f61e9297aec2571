"""Delete old turn logs, sessions and sums of usage, but never by a clock that may be wrong."""

import structlog

from backend.app.store_clock import StoreClock
from backend.storage.ports.sessions import SessionStore
from backend.storage.ports.usage import UsageStore
from backend.telemetry import metrics

logger = structlog.get_logger()


class Retention:
    """Deletes old logs, sessions and sums of usage.

    The store measures age by its own clock. If that differs from the worker's, one of them is
    wrong, and nothing is deleted until they agree: deleting later does no harm. With
    `sessions_kept_seconds=0` sessions are kept forever, with `usage_kept_days=0` the sums.
    """

    def __init__(
        self,
        sessions: SessionStore,
        clock: StoreClock,
        *,
        logs_kept_seconds: float,
        sessions_kept_seconds: float,
        usage: UsageStore,
        usage_kept_days: float,
    ) -> None:
        self._sessions = sessions
        self._usage = usage
        self._usage_kept_days = usage_kept_days
        self._clock = clock
        self._logs_kept_seconds = logs_kept_seconds
        self._sessions_kept_seconds = sessions_kept_seconds

    async def watch_clock(self) -> None:
        await self._clock.look()
        metrics.retention_is_refused(is_refused=not self._clock.is_trusted)

    async def purge(self) -> None:
        """Delete what is too old, unless the clock is in doubt. Raises: StorageError."""
        await self.watch_clock()
        if not self._clock.is_trusted:
            difference_seconds = round(self._clock.difference_seconds)
            logger.warning("retention_refused", difference_seconds=difference_seconds)
            return
        await self._sessions.purge_logs(kept_seconds=self._logs_kept_seconds)
        if self._sessions_kept_seconds:
            await self._sessions.purge_sessions(kept_seconds=self._sessions_kept_seconds)
        if self._usage_kept_days:
            await self._usage.purge(kept_days=self._usage_kept_days)
