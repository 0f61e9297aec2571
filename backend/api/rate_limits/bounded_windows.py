"""The moving windows of one quota, in bounded memory however many keys clients invent."""

from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable
from itertools import islice

MOST_KEYS = 20_000
"""The keys that one quota remembers. They take 5 MB: a fresh key takes 262 bytes (measured)."""

MOST_REQUESTS = 500_000
"""The requests that one quota remembers. They take 4 MB, 8 bytes each. There are eight quotas by
default, so all quotas together take at most 75 MB of the 512 MB that a pod has in the chart."""

FULL_LEVEL = 8
"""The level of keys at their limit. Keys on lower levels have used proportionally less of it."""


class BoundedWindows:
    """The windows of all keys of one quota.

    When it is full, keys that have used the least of their limit are forgotten first, oldest first.
    That lets a request or two through. Forgetting a key at its limit would lift the limit.
    """

    def __init__(
        self,
        *,
        limit: int,
        seconds: float,
        clock: Callable[[], float],
        most_keys: int = MOST_KEYS,
        most_requests: int = MOST_REQUESTS,
    ) -> None:
        self._limit = limit
        self._seconds = seconds
        self._clock = clock
        self._most_keys = most_keys
        # An operator may set a limit above the bound. A client at that limit must be remembered.
        self._most_requests = max(most_requests, 2 * limit)
        self._levels: list[OrderedDict[str, array[float]]] = [
            OrderedDict() for _ in range(FULL_LEVEL + 1)
        ]
        """Each level orders its keys by their last request, oldest first."""
        self._keys = 0
        self._requests = 0

    def __len__(self) -> int:
        return self._keys

    def standing(self, key: str) -> tuple[float, int]:
        """Return the time of the oldest request in the window, and the number of requests in it."""
        times = self._find(key)
        gone = self._gone(times)
        return (times[gone] if gone < len(times) else self._clock(), len(times) - gone)

    def acquire(self, key: str, amount: int) -> bool:
        """Count `amount` requests if they fit the limit, and return whether they did."""
        self._forget_expired()
        _, used = self.standing(key)
        if used + amount > self._limit:
            return False
        times = self.discard(key)
        del times[: self._gone(times)]
        times.extend([self._clock()] * amount)
        self._keep(key, times)
        self._forget_least_used()
        return True

    def discard(self, key: str) -> "array[float]":
        """Forget a key, and return the times of its requests."""
        for level in self._levels:
            if (times := level.pop(key, None)) is not None:
                self._keys -= 1
                self._requests -= len(times)
                return times
        return array("d")

    def _keep(self, key: str, times: "array[float]") -> None:
        self._levels[FULL_LEVEL * len(times) // self._limit][key] = times
        self._keys += 1
        self._requests += len(times)

    def _find(self, key: str) -> "array[float]":
        found = (level[key] for level in self._levels if key in level)
        return next(found, array("d"))

    def _gone(self, times: "array[float]") -> int:
        """How many of the requests have left the window."""
        return bisect_right(times, self._clock() - self._seconds)

    def _forget_expired(self) -> None:
        # At most two keys of each level: a call adds at most one key, so this keeps up with it.
        for level in filter(None, self._levels):
            for key in list(islice(level, 2)):
                if self._gone(level[key]) < len(level[key]):
                    break
                self.discard(key)

    def _forget_least_used(self) -> None:
        while self._keys > self._most_keys or self._requests > self._most_requests:
            level = next(level for level in self._levels if level)
            self.discard(next(iter(level)))
