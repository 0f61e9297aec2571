"""The local tier: slowapi's limiter, with windows in this worker's memory. It never fails."""

import time
from collections.abc import Callable, Sequence
from typing import cast

from limits.storage import MovingWindowSupport, Storage
from slowapi import Limiter
from slowapi.util import get_remote_address

from backend.api.rate_limits.bounded_windows import BoundedWindows
from backend.api.rate_limits.windows import Standing, Verdict, Window

Clock = Callable[[], float]


class MovingWindows(Storage, MovingWindowSupport):
    """A storage for `limits`, which finds it by its URI scheme.

    The in-memory storage of `limits` scans every key in a thread after each hit, which competes
    with the event loop (125 ms for 100,000 sessions), and it never forgets a key.
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
        self._of_quotas: dict[tuple[str, int, int], BoundedWindows] = {}
        """Each quota has its own bound, so that many sessions cannot push out the clients."""

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        kind, name = _parted(key)
        return self.windows(kind, limit, expiry).acquire(name, amount)

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        kind, name = _parted(key)
        return self.windows(kind, limit, expiry).standing(name)

    def windows(self, kind: str, limit: int, expiry: int) -> BoundedWindows:
        """The windows of a quota: its limit's name, its requests and its seconds."""
        quota = kind, limit, expiry
        if quota not in self._of_quotas:
            self._of_quotas[quota] = BoundedWindows(limit=limit, seconds=expiry, clock=self.clock)
        return self._of_quotas[quota]

    def __len__(self) -> int:
        return sum(map(len, self._of_quotas.values()))

    def clear(self, key: str) -> None:
        kind, name = _parted(key)
        for (each, *_), windows in self._of_quotas.items():
            if each == kind:
                windows.discard(name)

    def reset(self) -> int | None:
        forgotten = len(self)
        self._of_quotas.clear()
        return forgotten

    def check(self) -> bool:
        return True

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        raise NotImplementedError

    def get(self, key: str) -> int:
        raise NotImplementedError

    def get_expiry(self, key: str) -> float:
        raise NotImplementedError


def _parted(key: str) -> tuple[str, str]:
    """Split a key of `limits` into the name of its limit and the client or session it is for."""
    match key.split("/"):
        case [_, kind, name, _, _, _]:
            return kind, name
    return "", key


class LocalLimits:
    """Never awaits, so no other request can run between the check and the count."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        limiter = Limiter(
            # Required but unused: slowapi cannot handle WebSockets, so windows bring their keys.
            key_func=get_remote_address,
            # Set explicitly, so that slowapi's environment variables cannot override them.
            strategy="moving-window",
            storage_uri="lex+memory://",
            storage_options={"clock": clock},  # type: ignore[dict-item]
        ).limiter
        self._limiter = limiter
        self._storage = cast(MovingWindows, limiter.storage)

    async def charge(self, windows: Sequence[Window]) -> Verdict:
        return self.charge_now(windows)

    def charge_now(self, windows: Sequence[Window]) -> Verdict:
        looked = self.look(windows)
        if not looked.is_granted:
            return looked
        for window in windows:
            self._limiter.hit(window.quota.item, window.quota.limit, window.key)
        # Computed, because another look would cost as much as all hits.
        counted = [
            Standing(standing.quota, standing.remaining - 1, standing.seconds)
            for standing in looked.standings
        ]
        return Verdict(is_granted=True, standings=counted)

    def look(self, windows: Sequence[Window]) -> Verdict:
        """Return the verdict of `charge_now` without counting."""
        standings = [self._standing(window) for window in windows]
        return Verdict(min([each.remaining for each in standings], default=1) > 0, standings)

    def _standing(self, window: Window) -> Standing:
        # Past the limiter, which writes and parses the key once more: 12 of 20 Python calls.
        quota = window.quota
        limit, seconds = quota.item.amount, quota.item.get_expiry()
        oldest, used = self._storage.windows(quota.limit, limit, seconds).standing(window.key)
        return Standing(quota, limit - used, oldest + seconds - self._clock())
