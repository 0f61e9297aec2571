"""The event log of a turn, and its followers.

One task appends; any number of followers read, each at its own pace, from any position.
Everything that a stream can go through (a disconnect, a resume, a stop, a drain) is
something that happens to a log or to a follower.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from backend.domain.events import Event, Logged, Unknown
from backend.telemetry import metrics


@dataclass(frozen=True, slots=True)
class Lost:
    """A place among the events that readers get instead of a log that was lost.

    They are counted apart: nobody knows how far the log itself had come.
    """

    number: int

    def __add__(self, number: int) -> "Lost":
        return Lost(self.number + number)

    def __str__(self) -> str:
        return f"lost-{self.number}"


Place = int | Lost
"""How far a reader has come: the position of the last event that it has."""


class Batch(NamedTuple):
    """Events that follow each other; the first stands right behind position `after`.

    Events that this version does not know are in no batch. They keep their positions, so that a
    reader can go on with another version.

    A closing notice stands nowhere: one reader gets it, and it is in no log.
    """

    after: Place
    events: Sequence[Event]
    is_closing_notice: bool = False

    def placed(self) -> Iterator[tuple[Place, Event]]:
        """Each event with the position behind which its reader goes on."""
        for number, event in enumerate(self.events, start=1):
            yield self.after if self.is_closing_notice else self.after + number, event


class EventLog:
    """Events in order; the first has position 1. What bounds the answer bounds the log.

    A log that `begins_after` a position holds only what comes behind it. `unfollowed` is
    called when the last follower leaves a log that is still open.
    """

    def __init__(
        self,
        turn_id: str,
        unfollowed: Callable[[], None] = lambda: None,
        *,
        begins_after: int = 0,
        session_id: str = "",
    ) -> None:
        self.turn_id = turn_id
        self.session_id = session_id
        self.begins_after = begins_after
        self.events: list[Logged] = []
        self.is_closed = False
        self.on_change: Callable[[EventLog], None] | None = None
        """Called after each change, at once: it must be quick."""
        self.closing_notice: Sequence[Logged] = ()
        self.is_lost = False
        self._followers: set[Follower] = set()
        self._unfollowed = unfollowed

    @property
    def last(self) -> int:
        """The position of the last event."""
        return self.begins_after + len(self.events)

    def append(self, event: Logged) -> None:
        self.events.append(event)
        self._wake()

    def close(self) -> None:
        """Nothing comes after this. Followers end when they have read everything."""
        self.is_closed = True
        self._unfollowed = lambda: None  # also for the sake of memory: it refers to its owner
        self._wake()

    def break_off(self, closing_notice: Sequence[Logged]) -> None:
        """Close it for its readers wherever they are, though more may come elsewhere."""
        self.closing_notice = closing_notice
        self.close()

    def lose_rest(self, instead: Sequence[Logged]) -> None:
        """Close it where it stands. Its readers get these events instead of the rest."""
        self.is_lost = True
        self.break_off(instead)

    def follow(self, after: Place = 0) -> "Follower":
        """A reader of everything behind position `after`. The caller must call `leave()`."""
        follower = Follower(self, after)
        self._followers.add(follower)
        metrics.follower_came()
        return follower

    @property
    def is_unfollowed(self) -> bool:
        return not self._followers

    def forget(self, follower: "Follower") -> None:
        if follower in self._followers:
            self._followers.remove(follower)
            metrics.follower_left()
            if not self._followers:
                self._unfollowed()

    def _wake(self) -> None:
        if self.on_change is not None:
            self.on_change(self)
        for follower in self._followers:
            follower.wake()


class Follower:
    """One reader of a log. It counts from its creation until `leave`, read or not:
    a generator that nobody started would never say that it ended.
    """

    def __init__(self, log: EventLog, after: Place) -> None:
        self._log = log
        self._read = 0 if isinstance(after, Lost) else max(0, after - log.begins_after)
        self._notice_read = after.number if isinstance(after, Lost) else 0
        """How many events of the closing notice it has."""
        self._has_left = False
        self._waiting: asyncio.Future[bool] | None = None
        self._waits_since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._when_left: Callable[[], None] | None = None

    @property
    def turn_id(self) -> str:
        return self._log.turn_id

    @property
    def session_id(self) -> str:
        return self._log.session_id

    @property
    def position(self) -> Place:
        """Of the last event that was read."""
        if self._log.is_lost and self._notice_read:
            return Lost(self._notice_read)
        return self._log.begins_after + self._read

    @property
    def is_at_end(self) -> bool:
        """Everything was read, and nothing more will come."""
        log = self._log
        has_notice = self._notice_read >= len(log.closing_notice)
        return log.is_closed and self._read >= len(log.events) and has_notice

    @property
    def seen(self) -> Sequence[Logged]:
        """What was read, as far as the log goes back."""
        return self._log.events[: self._read]

    async def batches(self, *, quiet_seconds: float | None = None) -> AsyncGenerator[Batch, None]:
        """All that has been appended since the last batch, until the log is closed or the
        follower leaves; and an empty batch each time that nothing came for `quiet_seconds`.
        """
        log = self._log
        try:
            while not self._has_left:
                self._read, events = _next_known(log.events, self._read)
                if events:
                    batch = Batch(self.position, events)
                    self._read += len(events)
                    yield batch
                elif log.is_closed:
                    self._notice_read, rest = _next_known(log.closing_notice, self._notice_read)
                    if not rest:
                        return
                    place = Lost(self._notice_read) if log.is_lost else self.position
                    self._notice_read += len(rest)
                    yield Batch(place, rest, is_closing_notice=not log.is_lost)
                elif not await self._wait_for_change(quiet_seconds):
                    yield Batch(self.position, ())
        finally:
            if self._timer is not None:
                self._timer.cancel()

    async def _wait_for_change(self, seconds: float | None) -> bool:
        """Whether one came in time.

        There is one timer, which looks how long the wait at hand has lasted when it goes off: to
        make one for each wait would be a twentieth of a flush. `aio.timeout` has such a timer, too,
        but it cancels a task, which is too much for a heartbeat. A class for the timers of both was
        longer than they are, and added 0.1 µs to each wait.
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
            self._waiting.set_result(False)

    def wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(True)

    def when_left(self, call: Callable[[], None]) -> None:
        """Call this once when it leaves, or at once if it has left."""
        self._when_left = call
        if self._has_left:
            self._report_left()

    def leave(self) -> None:
        """Stop counting as a reader, and reading. May be called more than once."""
        self._has_left = True
        self.wake()
        self._log.forget(self)
        self._report_left()

    def _report_left(self) -> None:
        call, self._when_left = self._when_left, None
        if call is not None:
            call()


def _next_known(logged: Sequence[Logged], begin: int) -> tuple[int, list[Event]]:
    """The events from `begin` on, without unknown ones before them and up to the next one;
    and where they begin.
    """
    while begin < len(logged) and isinstance(logged[begin], Unknown):
        begin += 1
    events: list[Event] = []
    for event in logged[begin:]:
        if isinstance(event, Unknown):
            break
        events.append(event)
    return begin, events
