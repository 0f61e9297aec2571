"""The event log of a turn, and its followers.

One task appends; any number of followers read, each at its own pace and from any position. A
disconnect removes a follower, a resume adds one, a stop or a drain closes the log.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from backend.domain.events import Event, Logged, Unknown
from backend.telemetry import metrics
from backend.telemetry.turn_clock import NO_TURN, TurnClock
from backend.turns.first_chunk import FirstChunk


@dataclass(frozen=True, slots=True)
class Lost:
    """A place in the events that replace a lost log.

    They have their own numbers, because the length of the lost log is unknown.
    """

    number: int

    def __add__(self, number: int) -> "Lost":
        return Lost(self.number + number)

    def __str__(self) -> str:
        return f"lost-{self.number}"


Place = int | Lost
"""The position of the last event that a reader has; 0 before the first one."""


class Batch(NamedTuple):
    """Consecutive events; the first has the position after `after`.

    Batches leave out events that this version does not know. Such events keep their positions, so
    that a reader can resume on a worker of either version. A closing notice has no positions: it is
    sent to readers but is in no log.
    """

    after: Place
    events: Sequence[Event]
    is_closing_notice: bool = False

    def placed(self) -> Iterator[tuple[Place, Event]]:
        """Yield each event with the position from which its reader would resume."""
        for number, event in enumerate(self.events, start=1):
            yield self.after if self.is_closing_notice else self.after + number, event


class EventLog:
    """The events of one turn in order; the first has position 1.

    The limits on completions and tool outputs bound it. With `begins_after`, it holds only the
    events after that position. `unfollowed` is called when the last follower leaves an open log.
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
        """Called synchronously after each change, so it must return quickly."""
        self.closing_notice: Sequence[Logged] = ()
        self.clock = NO_TURN
        """The clock of the turn, if it runs on this worker."""
        self.first_chunk: FirstChunk | None = None
        """The wait for the first chunk, if this worker counts it."""
        self.is_lost = False
        self.begins_session = False
        """Whether there was nothing to tell the model from before this turn. Only known here."""
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
        """Take no more events. Followers end when they have read everything."""
        self.is_closed = True
        self._unfollowed = lambda: None  # breaks the reference cycle with the log's owner
        self._wake()

    def break_off(self, closing_notice: Sequence[Logged]) -> None:
        """Close this copy with a notice to its followers. The turn may go on, on another worker."""
        self.closing_notice = closing_notice
        self.close()

    def lose_rest(self, instead: Sequence[Logged]) -> None:
        """Close the log; followers get `instead` in place of the rest, which was lost."""
        self.is_lost = True
        self.break_off(instead)

    def follow(self, after: Place = 0) -> "Follower":
        """Add a follower of everything after this position. The caller must call `leave()`."""
        follower = Follower(self, after)
        self._followers.add(follower)
        metrics.follower_came()
        if self.first_chunk is not None:
            self.first_chunk.came()
        return follower

    @property
    def is_unfollowed(self) -> bool:
        return not self._followers

    def forget(self, follower: "Follower") -> None:
        if follower in self._followers:
            self._followers.remove(follower)
            metrics.follower_left()
            if not self._followers:
                if self.first_chunk is not None:
                    self.first_chunk.left()
                self._unfollowed()

    def _wake(self) -> None:
        if self.on_change is not None:
            self.on_change(self)
        for follower in self._followers:
            follower.wake()


class Follower:
    """One reader of a log.

    It counts from its creation until `leave()`, not while `batches` runs: the `finally` of a
    generator that was never started never runs.
    """

    def __init__(self, log: EventLog, after: Place) -> None:
        self._log = log
        self._read = 0 if isinstance(after, Lost) else max(0, after - log.begins_after)
        self._notice_read = after.number if isinstance(after, Lost) else 0
        """The number of events of the closing notice that were read."""
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
    def begins_session(self) -> bool:
        """Whether the turn is known to be the first one of its session."""
        return self._log.begins_session

    @property
    def clock(self) -> TurnClock:
        """The clock of the turn; `NO_TURN` if it runs on another worker."""
        return self._log.clock

    @property
    def first_chunk(self) -> FirstChunk | None:
        return self._log.first_chunk

    @property
    def position(self) -> Place:
        """The position of the last event that was read."""
        if self._log.is_lost and self._notice_read:
            return Lost(self._notice_read)
        return self._log.begins_after + self._read

    @property
    def is_at_end(self) -> bool:
        """Whether the log is closed and everything in it was read."""
        log = self._log
        has_notice = self._notice_read >= len(log.closing_notice)
        return log.is_closed and self._read >= len(log.events) and has_notice

    @property
    def seen(self) -> Sequence[Logged]:
        """The events that were read, as far back as this log goes."""
        return self._log.events[: self._read]

    async def batches(self, *, quiet_seconds: float | None = None) -> AsyncGenerator[Batch, None]:
        """Yield all new events as one batch, until the log is closed or the follower leaves.

        Also yields an empty batch after each `quiet_seconds` without an event.
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
        """Wait for a change; return False if none came within `seconds`."""
        # One timer serves many waits: when it fires, it checks how long the current wait has
        # lasted, and rearms itself. A timer per wait would take a twentieth of a flush's time.
        # `aio.timeout` also reuses its timer, but cancels a task, which is too heavy for a
        # heartbeat. A class for both was longer than the two, and added 0.1 µs to each wait.
        loop = asyncio.get_running_loop()
        self._waiting = loop.create_future()
        self._waits_since = loop.time()
        if seconds is not None and self._timer is None:
            self._timer = loop.call_later(seconds, self._look, loop, seconds)
        return await self._waiting

    def _look(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._timer = None
        if self._waiting is None or self._waiting.done():
            return  # no wait is pending: the next one starts a new timer
        left = self._waits_since + seconds - loop.time()
        if left > 0:
            self._timer = loop.call_later(left, self._look, loop, seconds)
        else:
            self._waiting.set_result(False)

    def wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(True)

    def when_left(self, call: Callable[[], None]) -> None:
        """Call this once when the follower leaves, or immediately if it has left already."""
        self._when_left = call
        if self._has_left:
            self._report_left()

    def leave(self) -> None:
        """Stop reading, and stop counting as a reader. Further calls do nothing."""
        self._has_left = True
        self.wake()
        self._log.forget(self)
        self._report_left()

    def _report_left(self) -> None:
        call, self._when_left = self._when_left, None
        if call is not None:
            call()


def _next_known(logged: Sequence[Logged], begin: int) -> tuple[int, list[Event]]:
    """Return where the known events from `begin` on start, and all up to the next unknown one."""
    while begin < len(logged) and isinstance(logged[begin], Unknown):
        begin += 1
    events: list[Event] = []
    for event in logged[begin:]:
        if isinstance(event, Unknown):
            break
        events.append(event)
    return begin, events
