"""A clock that knows the owner of each second of a turn.

The clock is always in exactly one part, so the parts add up to the turn. Time that no code has
claimed stays visible as `UNATTRIBUTED`.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum


class Part(StrEnum):
    """The owners of a turn's time."""

    QUEUE = "queue"
    """The queue of a model's provider, as the provider reports it."""
    MODEL = "model"
    """The rest of a model's calls, with our pauses between chunks."""
    RATE_WAIT = "rate_wait"
    """The wait for a model's rate or circuit breaker, or a back-off. No model is called."""
    TOOLS = "tools"
    """Tools. Seconds in which several run count once."""
    STORE = "store"
    """The database, also while all running tools wait for it, or an earlier turn of the session."""
    LEX = "lex"
    """Our own work between the waits."""
    EVENT_LOOP = "event_loop"
    """Waits that lasted longer because the event loop stood still."""
    CLIENT = "client"
    """Sending to the client that asked. It takes long if the client does not read."""
    UNATTRIBUTED = "unattributed"
    """Time that no code has claimed."""


_NOTHING = dict.fromkeys(Part, 0.0)


class TurnClock:
    """The time of one turn by part, in seconds. It starts in `UNATTRIBUTED`.

    `stood_still(at)` returns for how long the event loop has stood still until `at`, a time of the
    clock `now`.
    """

    def __init__(
        self,
        stood_still: Callable[[float], float] = lambda _: 0.0,
        *,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.is_over = False
        self._now = now
        self._stood_still = stood_still
        self._part = Part.UNATTRIBUTED
        self._running_tools = 0
        self._tools_in_store = 0
        self._is_sending = False
        self._seconds = _NOTHING.copy()
        self._settled_at = now()
        self._stood_before = stood_still(self._settled_at)

    def switch(self, part: Part) -> Part:
        """Put the time from now on into this part. Return the part before."""
        self._settle()
        before, self._part = self._part, part
        return before

    def tool(self) -> "_ToolRuns":
        """Count a tool that runs in a `with` block."""
        return _ToolRuns(self)

    def store(self) -> "_Stay | _ToolAsksStore":
        """Put the time of a `with` block into `STORE`, unless other tools run meanwhile."""
        return _ToolAsksStore(self) if self._running_tools else _Stay(self, Part.STORE)

    def count_tools(self, change: int) -> None:
        self._settle()
        self._running_tools += change

    def count_tools_in_store(self, change: int) -> None:
        self._settle()
        self._tools_in_store += change

    def set_sending(self, is_sending: bool) -> None:  # noqa: FBT001 - its only argument
        self._settle()
        self._is_sending = is_sending

    def has_queued(self, seconds: float, *, model_seconds_before: float) -> None:
        """Move seconds of a call from the model to its queue, which reports them afterwards.

        `model_seconds_before` is the time in `MODEL` when the call began.
        """
        self._settle()
        most = self._seconds[Part.MODEL] - model_seconds_before
        seconds = min(seconds, most) if seconds > 0 else 0.0  # the provider may say anything
        self._seconds[Part.MODEL] -= seconds
        self._seconds[Part.QUEUE] += seconds

    def stop(self) -> None:
        """The turn is over: nothing changes the clock any more."""
        self._settle()
        self.is_over = True

    @property
    def seconds(self) -> dict[Part, float]:
        """The seconds of each part, up to now."""
        self._settle()
        return dict(self._seconds)

    def seconds_in(self, part: Part) -> float:
        """The seconds of one part, up to the last change."""
        return self._seconds[part]

    @property
    def total_seconds(self) -> float:
        return sum(self.seconds.values())

    def _settle(self) -> None:
        """Book the time since the last change to its owner."""
        if self.is_over:
            return
        now = self._now()
        stood, owner = self._stood_still(now), self._owner
        elapsed = now - self._settled_at
        # The turn's own work may be what the loop stands still for.
        still = 0.0 if owner is Part.LEX else min(elapsed, stood - self._stood_before)
        self._seconds[owner] += elapsed - still
        self._seconds[Part.EVENT_LOOP] += still
        self._settled_at, self._stood_before = now, stood

    @property
    def _owner(self) -> Part:
        if self._is_sending:
            return Part.CLIENT
        if self._part is Part.TOOLS and 0 < self._running_tools <= self._tools_in_store:
            return Part.STORE
        return self._part


NO_TURN = TurnClock()
"""The clock of work that belongs to no turn. It stands still."""
NO_TURN.stop()

_current: ContextVar[TurnClock] = ContextVar("turn_clock", default=NO_TURN)


@contextmanager
def entered(clock: TurnClock) -> Iterator[None]:
    """Use this clock in a `with` block, and in the tasks that begin there."""
    token = _current.set(clock)
    try:
        yield
    finally:
        _current.reset(token)


def current() -> TurnClock:
    """The clock of the current turn, or `NO_TURN`."""
    return _current.get()


def part(part: Part) -> "_Stay":
    """Put the time of a `with` block into this part, except for blocks inside of it."""
    return _Stay(_current.get(), part)


class _Stay:
    __slots__ = ("_before", "_clock", "_part")

    def __init__(self, clock: TurnClock, part: Part) -> None:
        self._clock = clock
        self._part = part

    def __enter__(self) -> None:
        self._before = self._clock.switch(self._part)

    def __exit__(self, *_: object) -> None:
        self._clock.switch(self._before)


class Sending:
    """A `with` block, used many times, in which the client that asked is sent something."""

    __slots__ = ("_clock",)

    def __init__(self, clock: TurnClock) -> None:
        self._clock = clock

    def __enter__(self) -> None:
        self._clock.set_sending(True)

    def __exit__(self, *_: object) -> None:
        self._clock.set_sending(False)


class _ToolRuns:
    __slots__ = ("_clock",)

    def __init__(self, clock: TurnClock) -> None:
        self._clock = clock

    def __enter__(self) -> None:
        self._clock.count_tools(1)

    def __exit__(self, *_: object) -> None:
        self._clock.count_tools(-1)


class _ToolAsksStore:
    __slots__ = ("_clock",)

    def __init__(self, clock: TurnClock) -> None:
        self._clock = clock

    def __enter__(self) -> None:
        self._clock.count_tools_in_store(1)

    def __exit__(self, *_: object) -> None:
        self._clock.count_tools_in_store(-1)
