"""The event log of a turn, and its followers.

One task appends; any number of followers read, each at its own pace, from any position.
Everything that a stream can go through (a disconnect, a resume, a stop, a drain) is
something that happens to a log or to a follower.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from typing import NamedTuple

from backend.events import Event
from backend.telemetry import metrics


class Batch(NamedTuple):
    """Events that follow each other; the first stands right behind position `after`.

    A farewell stands nowhere: it is said to one reader and is in no log.
    """

    after: int
    events: Sequence[Event]
    is_farewell: bool = False

    def placed(self) -> Iterator[tuple[int, Event]]:
        """Each event with the position behind which its reader goes on."""
        for number, event in enumerate(self.events, start=1):
            yield self.after if self.is_farewell else self.after + number, event


class EventLog:
    """Events in order; the first has position 1. What bounds the answer bounds the log.

    A log that `begins_after` a position holds only what comes behind it. `deserted` is
    called when the last follower leaves a log that is still open.
    """

    def __init__(
        self,
        turn_id: str,
        deserted: Callable[[], None] = lambda: None,
        *,
        begins_after: int = 0,
    ) -> None:
        self.turn_id = turn_id
        self.begins_after = begins_after
        self.events: list[Event] = []
        self.is_closed = False
        self.on_change: Callable[[EventLog], None] | None = None
        """Called after each change, at once: it must be quick."""
        self.farewell: Sequence[Event] = ()
        self._followers: set[Follower] = set()
        self._deserted = deserted

    @property
    def last(self) -> int:
        """The position of the last event."""
        return self.begins_after + len(self.events)

    def skip_to(self, position: int) -> None:
        """What comes next stands behind this position, for all who follow."""
        self.begins_after = position - len(self.events)

    def append(self, event: Event) -> None:
        self.events.append(event)
        self._wake()

    def close(self) -> None:
        """Nothing comes after this. Followers end when they have read everything."""
        self.is_closed = True
        self._wake()

    def break_off(self, farewell: Sequence[Event]) -> None:
        """Close it for its readers wherever they are, though more may come elsewhere."""
        self.farewell = farewell
        self.close()

    def follow(self, after: int = 0) -> "Follower":
        """A reader of everything behind position `after`. Whoever asks must see it `leave`."""
        follower = Follower(self, after)
        self._followers.add(follower)
        metrics.follower_came()
        return follower

    @property
    def is_deserted(self) -> bool:
        return not self._followers

    def forget(self, follower: "Follower") -> None:
        if follower in self._followers:
            self._followers.remove(follower)
            metrics.follower_left()
            if not self._followers and not self.is_closed:
                self._deserted()

    def _wake(self) -> None:
        if self.on_change is not None:
            self.on_change(self)
        for follower in self._followers:
            follower.wake()


class Follower:
    """One reader of a log. It counts from its creation until `leave`, read or not:
    a generator that nobody started would never say that it ended.
    """

    def __init__(self, log: EventLog, after: int) -> None:
        self._log = log
        self._read = max(0, after - log.begins_after)
        self._has_left = False
        self._has_heard_farewell = False
        self._waiting: asyncio.Future[bool] | None = None
        self._waits_since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def turn_id(self) -> str:
        return self._log.turn_id

    @property
    def position(self) -> int:
        """Of the last event that was read."""
        return self._log.begins_after + self._read

    @property
    def is_at_end(self) -> bool:
        """Everything was read, and nothing more will come."""
        log = self._log
        is_told = self._has_heard_farewell or not log.farewell
        return log.is_closed and self._read >= len(log.events) and is_told

    @property
    def seen(self) -> Sequence[Event]:
        """What was read, as far as the log goes back."""
        return self._log.events[: self._read]

    async def batches(self, *, quiet_seconds: float | None = None) -> AsyncGenerator[Batch, None]:
        """All that has been appended since the last batch, until the log is closed or the
        follower leaves; and an empty batch each time that nothing came for `quiet_seconds`.
        """
        log = self._log
        try:
            while not self._has_left:
                events = log.events[self._read :]
                if events:
                    batch = Batch(self.position, events)
                    self._read += len(events)
                    yield batch
                elif log.is_closed:
                    if log.farewell and not self._has_heard_farewell:
                        self._has_heard_farewell = True
                        yield Batch(self.position, log.farewell, is_farewell=True)
                    return
                elif await self._is_quiet(quiet_seconds):
                    yield Batch(self.position, ())
        finally:
            if self._timer is not None:
                self._timer.cancel()

    async def _is_quiet(self, seconds: float | None) -> bool:
        """Wait for a change; whether none came in time.

        There is one timer, which looks how long the wait at hand has lasted when it goes off: to
        make one for each wait would be a twentieth of a flush.
        """
        loop = asyncio.get_running_loop()
        self._waiting = loop.create_future()
        self._waits_since = loop.time()
        if seconds is not None and self._timer is None:
            self._timer = loop.call_later(seconds, self._look, loop, seconds)
        return await self._waiting

    def _look(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._timer = None
        if self._waiting is None or self._waiting.done():
            return  # the next wait makes a timer anew
        left = self._waits_since + seconds - loop.time()
        if left > 0:
            self._timer = loop.call_later(left, self._look, loop, seconds)
        else:
            self._waiting.set_result(True)

    def wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(False)

    def leave(self) -> None:
        """Stop counting as a reader, and reading. May be said more than once."""
        self._has_left = True
        self.wake()
        self._log.forget(self)
