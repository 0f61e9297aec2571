"""Both tiers together: all workers decide, and each for itself as soon as they cannot."""

from collections.abc import Sequence

from backend.api.rate_limits.local import LocalLimits
from backend.api.rate_limits.redis_pipeline import OutOfReach
from backend.api.rate_limits.windows import Limits, Verdict, Window


class TieredLimits:
    """Counts granted requests in both tiers, so that no worker grants more than its own windows
    hold, even if Redis goes away in the meantime.
    """

    def __init__(self, local: LocalLimits, shared: Limits) -> None:
        self._local = local
        self._shared = shared

    async def charge(self, windows: Sequence[Window]) -> Verdict:
        """A request that is refused here costs Redis nothing; one that is refused there is not
        counted here. Of many that come at once, one may be counted there and then refused here.
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
