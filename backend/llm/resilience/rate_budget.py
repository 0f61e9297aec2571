"""Keeps track of the rate limits that the upstream reports, and how long to wait for more."""

import time
from collections.abc import Callable

from backend.llm.port import Allowance

LONGEST_BLOCK_SECONDS = 3600.0
"""The longest block, whatever the upstream said. Then one call shows whether it still holds."""


TYPICAL_TOKENS = 1500.0
"""The assumed tokens of a call before the first: the prompt with the tools, and a short answer."""

NEWEST_SHARE = 0.2
"""The weight of the newest call in the moving average of tokens per call."""

PLENTY = 0.5
"""The share of a rate that is reserved for requests that a user waits for."""


class RateBudget:
    """The rates of one model. A rate that is used up blocks calls until the reported reset."""

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
        if tokens > 0:
            self._call_tokens += NEWEST_SHARE * (tokens - self._call_tokens)

    def _refill(self, allowance: Allowance) -> float:
        """Seconds until the rate has refilled enough for one call; 0 if it has enough now."""
        # The rate is full again in `reset_seconds`, so it refills `used / reset_seconds` a second.
        cost = self._call_tokens if allowance.kind == "tokens" else 1.0
        used = (allowance.limit or 0) - allowance.remaining
        if allowance.remaining >= cost or used <= 0:
            return 0.0
        return min(allowance.reset_seconds, cost * allowance.reset_seconds / used)

    @property
    def spacing_seconds(self) -> float:
        """The gap between calls at which the rate keeps up; 0 if it has enough or is unknown."""
        return max(self._refill_seconds.values(), default=0.0)

    @property
    def is_low(self) -> bool:
        """Whether a rate is known to have less than `PLENTY` of its limit left."""
        return max(self._low_until.values(), default=0.0) > self._clock()

    @property
    def wait_seconds(self) -> float:
        """Seconds until every rate has something left; 0 if each has some now."""
        latest = max(self._blocked_until.values(), default=0.0)
        return max(0.0, latest - self._clock())
