"""Both tiers together: all workers decide, and each for itself as soon as they cannot."""

from collections.abc import Sequence

from backend.api.rate_limits.local import LocalLimits
from backend.api.rate_limits.windows import Limits, Verdict, Window
from backend.api.redis_line import OutOfReach


class TieredLimits:
    """What was let through is counted in both tiers, so that no worker ever lets through more
    than its own windows hold, whatever becomes of Redis in the meantime.
    """

    def __init__(self, local: LocalLimits, shared: Limits) -> None:
        self._local = local
        self._shared = shared

    async def charge(self, windows: Sequence[Window]) -> Verdict:
        """Who is refused here costs Redis nothing; who is refused there is not counted here.

        Only of many that come at once may one be counted there and then refused here.
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
