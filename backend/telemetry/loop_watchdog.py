"""A thread that logs where the code is while the event loop stands still.

The loop cannot report that itself, and afterwards nobody knows what blocked it. The lines contain
functions and line numbers, and no values.
"""

import sys
import threading
import time
from collections.abc import Callable

import structlog

from backend.telemetry.loop_lag import LoopLag

logger = structlog.get_logger()

STANDS_SECONDS = 0.5
LOOK_SECONDS = 0.1
QUIET_SECONDS = 10.0
"""After a stall has been logged, further ones are not logged for this long."""
MOST_FRAMES = 30
"""The innermost frames of the stack that are logged."""


class LoopWatchdog:
    """Logs `event_loop_stands` with a stack, and `event_loop_moves` with the length of the stall.

    Create it in the thread of the event loop whose `lag` is watched.
    """

    def __init__(
        self,
        lag: LoopLag,
        *,
        quiet_seconds: float = QUIET_SECONDS,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._lag = lag
        self._quiet_seconds = quiet_seconds
        self._clock = clock
        self._loops_thread = threading.get_ident()
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="loop watchdog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and wait for it. Takes up to `LOOK_SECONDS`."""
        self._is_stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        stood_before, is_standing, quiet_until = 0.0, False, 0.0
        while not self._is_stopped.wait(LOOK_SECONDS):
            now = self._clock()
            standing = self._lag.standing_seconds(now)
            if is_standing and standing < STANDS_SECONDS:
                is_standing, quiet_until = False, now + self._quiet_seconds
                seconds = self._lag.stood_still(now) - stood_before
                logger.warning("event_loop_moves", after_seconds=round(seconds, 2))
            elif not is_standing and standing >= STANDS_SECONDS and now >= quiet_until:
                is_standing, stood_before = True, self._lag.stood_still(now) - standing
                logger.warning("event_loop_stands", seconds=round(standing, 2), stack=self._stack())

    def _stack(self) -> str:
        """The places where the loop's thread is, one per line and the outermost first."""
        frame = sys._current_frames().get(self._loops_thread)  # noqa: SLF001 - its documented name
        places: list[str] = []
        while frame is not None and len(places) < MOST_FRAMES:
            places.append(f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}")
            frame = frame.f_back
        # One text: structlog prints a `stack` in a terminal as it is.
        return "\n".join(reversed(places))
