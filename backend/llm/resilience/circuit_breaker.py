"""A circuit breaker: pauses calls to a failing model, then probes it with a single call."""

import time
from collections import deque
from collections.abc import Callable
from enum import IntEnum

PROBE_SECONDS = 1.0
"""The usual time until a probe has its first delta, and so a verdict."""


class BreakerState(IntEnum):
    """The states, with the values of the metric `lex_breaker_state`."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class CircuitBreaker:
    """Opens when the window has at least `least_calls`, and `failure_ratio` of them failed.

    After `open_seconds`, it lets one call at a time through as a probe. A successful probe closes
    it; a failed one opens it again.
    """

    def __init__(
        self,
        *,
        failure_ratio: float = 0.5,
        least_calls: int = 10,
        window_seconds: float = 30.0,
        open_seconds: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
        on_change: Callable[[BreakerState], None] = lambda _: None,
    ) -> None:
        self._failure_ratio = failure_ratio
        self._least_calls = least_calls
        self._window_seconds = window_seconds
        self._open_seconds = open_seconds
        self._clock = clock
        self._on_change = on_change
        self._opened_at: float | None = None
        self._is_probing = False
        # A sample of this size is enough, and bounds the memory under heavy traffic.
        self._calls: deque[tuple[float, bool]] = deque(maxlen=10 * least_calls)

    @property
    def state(self) -> BreakerState:
        if self._opened_at is None:
            return BreakerState.CLOSED
        is_over = self._clock() - self._opened_at >= self._open_seconds
        return BreakerState.HALF_OPEN if is_over else BreakerState.OPEN

    @property
    def wait_seconds(self) -> float:
        """Seconds until a call may pass; 0 if one may pass now."""
        if self._opened_at is None:
            return 0.0
        left = self._opened_at + self._open_seconds - self._clock()
        if left > 0:
            return left
        return PROBE_SECONDS if self._is_probing else 0.0

    def begin(self) -> "Call":
        """Begin a call. Check `wait_seconds` first, without an `await` in between.

        The caller must `end` the call.
        """
        # Without an `await` in between, only the first of many concurrent callers becomes the
        # probe. The others see `PROBE_SECONDS` to wait.
        is_probe = self._opened_at is not None
        self._is_probing = is_probe
        if is_probe:
            self._on_change(BreakerState.HALF_OPEN)
        return Call(self, is_probe=is_probe)

    def record(self, *, is_success: bool, is_probe: bool) -> None:
        now = self._clock()
        if is_probe:
            self._calls.clear()
            self._turn(opened_at=None if is_success else now)
            return
        self._calls.append((now, is_success))
        if self._opened_at is None and self._has_failed_often(now):
            self._turn(opened_at=now)

    def _turn(self, *, opened_at: float | None) -> None:
        self._opened_at = opened_at
        self._on_change(self.state)

    def let_go(self) -> None:
        self._is_probing = False

    def _has_failed_often(self, now: float) -> bool:
        recent = [success for at, success in self._calls if now - at <= self._window_seconds]
        failures = recent.count(False)
        return len(recent) >= self._least_calls and failures >= self._failure_ratio * len(recent)


class Call:
    def __init__(self, breaker: CircuitBreaker, *, is_probe: bool) -> None:
        self._breaker = breaker
        self._is_probe = is_probe

    def answered(self) -> None:
        """Report the first delta. For a probe that is success enough."""
        if self._is_probe:
            self.succeeded()

    def succeeded(self) -> None:
        self._judge(is_success=True)

    def failed(self) -> None:
        self._judge(is_success=False)

    def _judge(self, *, is_success: bool) -> None:
        self._breaker.record(is_success=is_success, is_probe=self._is_probe)
        self.end()

    def end(self) -> None:
        """End the call. There may be no verdict: the caller left, or the model is not at fault."""
        if self._is_probe:
            self._is_probe = False
            self._breaker.let_go()
