"""Checks that a resumed stream has no repeated and no missing event."""

from collections.abc import Iterable

from loadtests.sse import Frame, StreamFailed


class Continuity:
    """Takes every frame of a turn, over any number of connections.

    Ids are `<turn>-<n>`. An event has the next number. The frame that opens a stream has the number
    behind which the stream continues.
    """

    def __init__(self) -> None:
        self.last_id: str | None = None
        self.events: list[tuple[str, str]] = []

    @property
    def is_over(self) -> bool:
        return bool(self.events) and self.events[-1][0] == "end"

    def take(self, frame: Frame) -> None:
        """Raises StreamFailed if this frame is not the next one."""
        if frame.is_heartbeat:
            return
        if frame.id is None:
            raise StreamFailed("an event has no id")
        turn, _, number = frame.id.rpartition("-")
        if self.last_id is not None and turn != self.last_id.rpartition("-")[0]:
            raise StreamFailed("an event belongs to another turn")
        # An `error` may be for this reader only and have no number. It is a failure anyway.
        if frame.event != "error":
            self._check(int(number), len(self.events) + bool(frame.event))
        if frame.event:
            self.events.append((frame.event, frame.data))
        self.last_id = frame.id

    def _check(self, number: int, expected: int) -> None:
        if number < expected:
            raise StreamFailed("an event was repeated")
        if number > expected:
            raise StreamFailed("an event is missing")

    def compare(self, replay: Iterable[Frame]) -> None:
        """Raises StreamFailed if the events read so far differ from the replay."""
        if self.events != [(frame.event, frame.data) for frame in replay if frame.event]:
            raise StreamFailed("the replay is a different stream")
