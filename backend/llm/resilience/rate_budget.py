"""What the upstream said is left of our organisation's rates, and how long to wait for more."""

import time
from collections.abc import Callable

from backend.llm.port import Allowance

LONGEST_BLOCK_SECONDS = 3600.0
"""After this one call shows whether it is still as it was told."""


TYPICAL_TOKENS = 1500.0
"""Of a call, before one is known: the prompt with the tools, and a short answer."""

NEWEST_SHARE = 0.2
"""How much the newest call counts in what a call costs."""

PLENTY = 0.5
"""The share of a rate that belongs to those who wait for their answer."""


class RateBudget:
    """Of one model. A dimension that is used up blocks until its reset, as it was told."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._blocked_until: dict[str, float] = {}
        self._low_until: dict[str, float] = {}
        self._refill_seconds: dict[str, float] = {}
        self._call_tokens = TYPICAL_TOKENS

    def note(self, allowance: Allowance) -> None:
        wait = min(allowance.reset_seconds, LONGEST_BLOCK_SECONDS)
        whole_at = self._clock() + wait
        is_low = allowance.remaining < PLENTY * (allowance.limit or 0)
        self._blocked_until[allowance.kind] = 0.0 if allowance.remaining > 0 else whole_at
        self._low_until[allowance.kind] = whole_at if is_low else 0.0
        self._refill_seconds[allowance.kind] = self._refill(allowance)

    def spent(self, tokens: int) -> None:
        """What a call cost."""
        if tokens > 0:
            self._call_tokens += NEWEST_SHARE * (tokens - self._call_tokens)

    def _refill(self, allowance: Allowance) -> float:
        """How long the rate takes, by its own words, to refill for one call; 0 if it has enough."""
        # A rate that is whole again in `reset_seconds` refills `used / reset_seconds` a second.
        cost = self._call_tokens if allowance.kind == "tokens" else 1.0
        used = (allowance.limit or 0) - allowance.remaining
        if allowance.remaining >= cost or used <= 0:
            return 0.0
        return min(allowance.reset_seconds, cost * allowance.reset_seconds / used)

    @property
    def spacing_seconds(self) -> float:
        """Between two calls, as fast as what was used up refills; 0 if nothing is known to be."""
        return max(self._refill_seconds.values(), default=0.0)

    @property
    def is_low(self) -> bool:
        """Whether some dimension has less left than `PLENTY` of it, as far as we were told."""
        return max(self._low_until.values(), default=0.0) > self._clock()

    @property
    def wait_seconds(self) -> float:
        """Until every dimension has something left; 0 if it has."""
        latest = max(self._blocked_until.values(), default=0.0)
        return max(0.0, latest - self._clock())
