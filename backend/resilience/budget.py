"""What the upstream said is left of our organisation's rates, and how long to wait for more."""

import time
from collections.abc import Callable

from backend.completion import Allowance

LONGEST_BLOCK_SECONDS = 3600.0
"""After this one call shows whether it is still as it was told."""


PLENTY = 0.5
"""The share of a rate that belongs to those who wait for their answer."""


class Budget:
    """Of one model. A dimension that is used up blocks until its reset, as it was told."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._blocked_until: dict[str, float] = {}
        self._low_until: dict[str, float] = {}
        self.remaining: dict[str, int] = {}

    def note(self, allowance: Allowance) -> None:
        self.remaining[allowance.kind] = allowance.remaining
        wait = min(allowance.reset_seconds, LONGEST_BLOCK_SECONDS)
        whole_at = self._clock() + wait
        is_low = allowance.remaining < PLENTY * (allowance.limit or 0)
        self._blocked_until[allowance.kind] = 0.0 if allowance.remaining > 0 else whole_at
        self._low_until[allowance.kind] = whole_at if is_low else 0.0

    @property
    def is_low(self) -> bool:
        """Whether some dimension has less left than `PLENTY` of it, as far as we were told."""
        return max(self._low_until.values(), default=0.0) > self._clock()

    @property
    def wait_seconds(self) -> float:
        """Until every dimension has something left; 0 if it has."""
        latest = max(self._blocked_until.values(), default=0.0)
        return max(0.0, latest - self._clock())
