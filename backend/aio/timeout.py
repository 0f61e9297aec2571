"""One time limit for many waits.

`asyncio.timeout` makes a timer for each wait and cancels it a moment later. Here one timer goes off
once in a while and looks whether the wait at hand has lasted long enough: 1.3 µs a wait in place of
9.5, where that was measured, and there are two for each flush of a stream.
"""

import asyncio
from types import TracebackType
from typing import cast


class ReusableTimeout:
    """`with timeout: await …` raises `TimeoutError` if that takes longer than `seconds`.

    For one wait at a time, of any task. Cancellations from elsewhere pass through, as with
    `asyncio.timeout`. To be closed at the end.
    """

    __slots__ = ("_cancelling", "_due", "_is_over", "_loop", "_seconds", "_task", "_timer")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[object] | None = None
        """Whose wait is at hand."""
        self._due = 0.0
        self._cancelling = 0
        self._is_over = False

    def __enter__(self) -> None:
        self._task = task = cast("asyncio.Task[object]", asyncio.current_task())
        self._cancelling = task.cancelling()
        self._due = self._loop.time() + self._seconds
        # A timer of an earlier wait goes off too early for this one, and is then set anew: moving
        # it now would cost what `asyncio.timeout` costs.
        if self._timer is None:
            self._timer = self._loop.call_at(self._due, self._look)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if task is None or not self._is_over:
            return
        self._is_over = False
        # Another cancellation may have come in the same tick as ours. Then that one counts, and
        # goes on as it is.
        is_ours_alone = task.uncancel() <= self._cancelling
        if is_ours_alone and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise TimeoutError from error

    def _look(self) -> None:
        self._timer = None
        if self._task is None:
            return  # the next wait makes a timer anew
        if self._loop.time() < self._due:
            self._timer = self._loop.call_at(self._due, self._look)
        else:
            self._is_over = True
            self._task.cancel()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
