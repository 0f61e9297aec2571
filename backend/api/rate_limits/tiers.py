"""Combine both tiers: Redis decides for all workers; without it each worker decides alone."""

from collections.abc import Sequence

from backend.api.rate_limits.local import LocalLimits
from backend.api.rate_limits.redis_pipeline import OutOfReach
from backend.api.rate_limits.windows import Limits, Verdict, Window


class TieredLimits:
    """Counts granted requests in both tiers, so that local counts hold when Redis goes down."""

    def __init__(self, local: LocalLimits, shared: Limits) -> None:
        self._local = local
        self._shared = shared

    async def charge(self, windows: Sequence[Window]) -> Verdict:
        """Count one request in all windows of both tiers, or in none.

        A local refusal needs no call to Redis. In a burst, a request that Redis has counted may
        still be refused locally.
        """
        if not windows or not (here := self._local.look(windows)).is_granted:
            return self._local.charge_now(windows)
        try:
            everywhere = await self._shared.charge(windows)
        except OutOfReach:
            return self._local.charge_now(windows)
        if everywhere.is_granted:
            here = self._local.charge_now(windows)
        return everywhere if here.is_granted else here
