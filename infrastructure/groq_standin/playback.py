"""One answer being played: steps in, writes and timers out. No task, no future."""

import asyncio
import math
from collections.abc import Callable, Iterator

from infrastructure.groq_standin.steps import Ending, Step, Wait

BATCH_FRAMES = 512
"""An unpaced answer goes out in writes of so many frames, so that a slow reader can hold it up."""

LATENESS_SECONDS = 0.25
"""A stream that fell behind by less catches up; after a longer hold-up it goes on from there."""


class Playback:
    """Plays the steps of one answer to one transport."""

    __slots__ = ("_due", "_is_held", "_loop", "_on_end", "_steps", "_timer", "_transport",
                 "has_started", "is_paused")  # fmt: skip

    def __init__(
        self,
        steps: Iterator[Step],
        *,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        on_end: Callable[[Ending], None],
    ) -> None:
        self._steps = steps
        self._transport = transport
        self._loop = loop
        self._on_end = on_end
        self._due = loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._is_held = False
        self.is_paused = False
        self.has_started = False

    def play(self) -> None:
        """Take steps until one has to wait: for time, for a slow reader, for nothing any more."""
        if self.is_paused:
            self._is_held = True
            return
        batch: list[bytes] = []
        for step in self._steps:
            if isinstance(step, bytes):
                batch.append(step)
                if len(batch) >= BATCH_FRAMES and not self._flush(batch):
                    return
            elif isinstance(step, Wait):
                if not self._flush(batch) or self._is_waiting(step.seconds):
                    return
            else:
                self._flush(batch)
                self._on_end(step)
                return

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False
        if self._is_held:
            self._is_held = False
            self.play()

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _flush(self, batch: list[bytes]) -> bool:
        """Write the batch; false when the reader is so slow that it has to wait."""
        if batch:
            self._transport.write(b"".join(batch) if len(batch) > 1 else batch[0])
            batch.clear()
            self.has_started = True
        self._is_held = self.is_paused
        return not self._is_held

    def _is_waiting(self, seconds: float) -> bool:
        if seconds == math.inf:
            return True
        now = self._loop.time()
        self._due = max(self._due, now - LATENESS_SECONDS) + seconds
        if self._due <= now:
            return False
        self._timer = self._loop.call_at(self._due, self.play)
        return True
