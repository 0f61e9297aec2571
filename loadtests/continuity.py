"""Whether the pieces of a resumed stream are the stream: nothing repeated, nothing missing."""

from collections.abc import Iterable

from loadtests.sse import Frame, StreamFailed


class Continuity:
    """Is shown every frame of a turn, over however many connections it comes.

    Ids are `<turn>-<n>`: an event has the next number, and the frame that opens a stream the number
    behind which it goes on.
    """

    def __init__(self) -> None:
        self.last_id: str | None = None
        self.events: list[tuple[str, str]] = []

    @property
    def is_over(self) -> bool:
        return bool(self.events) and self.events[-1][0] == "end"

    def take(self, frame: Frame) -> None:
        """Raises: StreamFailed, if this frame should not come now."""
        if frame.is_heartbeat:
            return
        if frame.id is None:
            raise StreamFailed("an event has no id")
        turn, _, number = frame.id.rpartition("-")
        if self.last_id is not None and turn != self.last_id.rpartition("-")[0]:
            raise StreamFailed("an event is another turn's")
        # An `error` may be said to this reader alone, and stands nowhere. It is a failure anyway.
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
        """Raises: StreamFailed, if what was read in pieces is not what is read in one."""
        if self.events != [(frame.event, frame.data) for frame in replay if frame.event]:
            raise StreamFailed("its replay is another stream")
