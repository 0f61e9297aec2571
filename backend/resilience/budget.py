"""What the upstream said is left of our organisation's rates, and how long to wait for more."""

import time
from collections.abc import Callable

from backend.completion import Allowance

LONGEST_BLOCK_SECONDS = 3600.0
"""After this one call shows whether it is still as it was told."""


class Budget:
    """Of one model. A dimension that is used up blocks until its reset, as it was told."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._blocked_until: dict[str, float] = {}
        self.remaining: dict[str, int] = {}

    def note(self, allowance: Allowance) -> None:
        self.remaining[allowance.kind] = allowance.remaining
        if allowance.remaining > 0:
            self._blocked_until.pop(allowance.kind, None)
        else:
            wait = min(allowance.reset_seconds, LONGEST_BLOCK_SECONDS)
            self._blocked_until[allowance.kind] = self._clock() + wait

    @property
    def wait_seconds(self) -> float:
        """Until every dimension has something left; 0 if it has."""
        latest = max(self._blocked_until.values(), default=0.0)
        return max(0.0, latest - self._clock())
