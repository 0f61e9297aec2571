"""The tier that is always there: slowapi's limiter, over windows in the memory of this worker."""

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from itertools import islice

from limits.storage import MovingWindowSupport, Storage
from slowapi import Limiter
from slowapi.util import get_remote_address

from backend.api.rate_limits.windows import Standing, Verdict, Window

Clock = Callable[[], float]


class MovingWindows(Storage, MovingWindowSupport):
    """A storage for `limits`, registered under its scheme.

    Its own storage in memory looks at every key in a thread after each hit (125 ms for 100,000
    sessions, while the event loop wants to run) and never forgets a key.
    """

    STORAGE_SCHEME = ["lex+memory"]  # noqa: RUF012 - what the registry of `limits` reads
    base_exceptions = ()  # nothing here can fail

    def __init__(
        self,
        uri: str | None = None,
        wrap_exceptions: bool = False,  # noqa: FBT001, FBT002 - their signature
        clock: Clock = time.monotonic,
    ) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions)
        self.clock = clock
        self._of_length: dict[int, OrderedDict[str, deque[float]]] = {}
        """By the length of the window, so that the first key is the first to be forgotten."""

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        self._forget(expiry)
        windows = self._of_length.setdefault(expiry, OrderedDict())
        _, used = self.get_moving_window(key, limit, expiry)
        if used + amount > limit:
            return False
        windows.setdefault(key, deque(maxlen=limit)).extend([self.clock()] * amount)
        windows.move_to_end(key)
        return True

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:  # noqa: ARG002
        entries = self._of_length.get(expiry, OrderedDict()).get(key, deque())
        while entries and entries[0] <= self.clock() - expiry:
            entries.popleft()
        return entries[0] if entries else self.clock(), len(entries)

    def _forget(self, expiry: int) -> None:
        """At most two keys whose last request is too long ago: more than one call can add."""
        windows = self._of_length.get(expiry, OrderedDict())
        for key in list(islice(windows, 2)):
            if windows[key] and windows[key][-1] > self.clock() - expiry:
                return
            del windows[key]

    def __len__(self) -> int:
        return sum(map(len, self._of_length.values()))

    def clear(self, key: str) -> None:
        for windows in self._of_length.values():
            windows.pop(key, None)

    def reset(self) -> int | None:
        forgotten = len(self)
        self._of_length.clear()
        return forgotten

    def check(self) -> bool:
        return True

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        raise NotImplementedError

    def get(self, key: str) -> int:
        raise NotImplementedError

    def get_expiry(self, key: str) -> float:
        raise NotImplementedError


class LocalLimits:
    """Nothing waits in it, so whatever one call looks at and counts belongs together."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._limiter = Limiter(
            # Never asked: a WebSocket is no request to slowapi, so keys come with the windows.
            key_func=get_remote_address,
            # Both said here, so that no variable of slowapi's own says otherwise.
            strategy="moving-window",
            storage_uri="lex+memory://",
            storage_options={"clock": clock},  # type: ignore[dict-item]
        ).limiter

    async def charge(self, windows: Sequence[Window]) -> Verdict:
        return self.charge_now(windows)

    def charge_now(self, windows: Sequence[Window]) -> Verdict:
        looked = self.look(windows)
        if not looked.is_granted:
            return looked
        for window in windows:
            self._limiter.hit(window.quota.item, window.key)
        return Verdict(is_granted=True, standings=self.look(windows).standings)

    def look(self, windows: Sequence[Window]) -> Verdict:
        """What `charge_now` would say; nothing is counted."""
        standings = [self._standing(window) for window in windows]
        return Verdict(all(standing.remaining > 0 for standing in standings), standings)

    def _standing(self, window: Window) -> Standing:
        reset, remaining = self._limiter.get_window_stats(window.quota.item, window.key)
        return Standing(window.quota, remaining, reset - self._clock())
