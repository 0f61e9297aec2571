"""The pause between two chunks of a turn, which grows while the event loop is late."""

from backend.telemetry import metrics

LONGEST_SECONDS = 0.1
"""People read on without noticing that text comes ten times a second."""

DOUBLING_SECONDS = 0.01
"""The lag of the event loop that doubles the pause."""

SMOOTHING = 8
"""The observations over which the lag is averaged: one slow callback is no load."""


class FlushPace:
    """The pause of all turns of one worker, in `seconds`.

    Flushes are most of a full worker's work. With longer pauses, a stream needs fewer of them, so
    the worker carries more streams. A `usual_seconds` above `LONGEST_SECONDS` never grows.
    """

    def __init__(self, usual_seconds: float) -> None:
        self.seconds = self._usual_seconds = usual_seconds
        self._longest_seconds = max(usual_seconds, LONGEST_SECONDS)
        self._lag_seconds = 0.0

    def loop_was_late(self, lag_seconds: float) -> None:
        """Take one observation of the lag of the event loop. They come at regular times."""
        self._lag_seconds += (lag_seconds - self._lag_seconds) / SMOOTHING
        pause = self._usual_seconds * (1 + self._lag_seconds / DOUBLING_SECONDS)
        self.seconds = min(pause, self._longest_seconds)
        metrics.flushes_paused(self.seconds)
