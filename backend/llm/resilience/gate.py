"""Queues the turns that wait for a model, so that they do not all resume at the same moment."""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count

from backend.domain.errors import UpstreamBusy
from backend.domain.rates import Place

LEAST_SPACING_SECONDS = 0.02
"""The gap between two turns if the refill speed of the rate is unknown: 50 turns per second."""


@dataclass(frozen=True, slots=True)
class _Ticket:
    """A turn that waits. Before `due_at` it holds up nobody."""

    came_at: float
    due_at: float
    passed: asyncio.Future[None] = field(default_factory=asyncio.Future)


class Gate:
    """The queue of one model.

    A turn first waits for the time that the upstream named. Then it joins the queue, at the place
    that its arrival gives it. The gate lets one turn through every `spacing_seconds(waiting)`: the
    gap at which so many turns fit into the model's rate. Nobody passes while `blocked_seconds` is
    not 0.

    While the gate `is_shared`, it lets nobody through by itself. The queue of all workers does.
    """

    def __init__(
        self,
        spacing_seconds: Callable[[int], float] = lambda _: 0.0,
        *,
        blocked_seconds: Callable[[], float] = lambda: 0.0,
        on_waiting: Callable[[int], None] = lambda _: None,
        on_release: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_waiting` hears how many turns wait; `on_release` of each turn that passes."""
        self._spacing_seconds = spacing_seconds
        self._blocked_seconds = blocked_seconds
        self._on_waiting = on_waiting
        self._on_release = on_release
        self._tickets: dict[str, _Ticket] = {}
        self._ids = count(1)
        self._released_at = float("-inf")
        self._timer: asyncio.TimerHandle | None = None
        self._others = 0
        self._is_queued = False
        self.is_shared = False
        self.joined = asyncio.Event()
        """Set when a turn begins to wait. The reader clears it."""

    @property
    def waiting(self) -> int:
        """How many turns of all workers wait, as far as known."""
        return len(self._tickets) + self._others

    @property
    def waiting_here(self) -> int:
        return len(self._tickets)

    @property
    def spacing_seconds(self) -> float:
        return max(LEAST_SPACING_SECONDS, self._spacing_seconds(max(1, self.waiting)))

    def estimate_seconds(self, after_seconds: float, *, came_at: float | None = None) -> float:
        """Estimate when a turn would be through that joins the queue in `after_seconds`."""
        now = time.monotonic()
        joins_at, came_at = now + after_seconds, now if came_at is None else came_at
        before = self._others + sum(
            ticket.due_at <= joins_at and ticket.came_at <= came_at
            for ticket in self._tickets.values()
        )
        return after_seconds + before * self.spacing_seconds

    def check(self) -> None:
        """Refuse a turn that has not queued while others are in the queue.

        Raises:
            UpstreamBusy: there is a queue.
        """
        now = time.monotonic()
        if self._is_queued or any(ticket.due_at <= now for ticket in self._tickets.values()):
            refusal = UpstreamBusy()  # without a time: `estimate_seconds` knows it better
            refusal.was_asked = False
            raise refusal

    async def passed(self, after_seconds: float, *, came_at: float | None = None) -> None:
        """Wait for `after_seconds`, and then for the turns that came earlier.

        `came_at` is when the turn first asked, on the monotonic clock; now by default. So a turn
        that has to queue again keeps its place.
        """
        now = time.monotonic()
        ticket = _Ticket(now if came_at is None else came_at, now + after_seconds)
        place = str(next(self._ids))
        self._tickets[place] = ticket
        self._changed()
        self.joined.set()
        try:
            await ticket.passed
        finally:
            self._tickets.pop(place, None)
            self._changed()

    def places(self) -> list[Place]:
        """The turns of this worker that have joined the queue."""
        now = time.monotonic()
        return [
            Place(place, now - ticket.came_at)
            for place, ticket in self._tickets.items()
            if ticket.due_at <= now
        ]

    @property
    def soonest_seconds(self) -> float:
        """Seconds until the next turn joins the queue; 0 if one has, infinite if none waits."""
        soonest = min((ticket.due_at for ticket in self._tickets.values()), default=float("inf"))
        return max(0.0, soonest - time.monotonic())

    def share(self, *, others: int, is_queued: bool, passed: Iterable[str]) -> None:
        """Obey the queue of all workers: `others` wait elsewhere, and the places `passed` pass.

        `is_queued` tells whether that queue has any turn.
        """
        self._others, self._is_queued, self.is_shared = others, is_queued, True
        for place in passed:
            self._release(place)
        self.replan()

    def stand_alone(self) -> None:
        """Let this worker's turns through by itself again."""
        self._others, self._is_queued, self.is_shared = 0, False, False
        self.replan()

    def replan(self) -> None:
        """Compute the time of the next release again, because the rate has changed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._tickets and not self.is_shared:
            now = time.monotonic()
            wait = max(0.0, self._opens_at(now) - now)
            self._timer = asyncio.get_running_loop().call_later(wait, self._open)

    def _opens_at(self, now: float) -> float:
        """When the next turn may pass."""
        return max(
            min(ticket.due_at for ticket in self._tickets.values()),
            self._released_at + self.spacing_seconds,
            now + self._blocked_seconds(),
        )

    def _open(self) -> None:
        self._timer = None
        now = time.monotonic()
        due = [place for place, ticket in self._tickets.items() if ticket.due_at <= now]
        # The rate may have changed since the timer was set.
        if due and self._opens_at(now) <= now:
            self._release(min(due, key=lambda place: self._tickets[place].came_at))
        self.replan()

    def _release(self, place: str) -> None:
        ticket = self._tickets.pop(place, None)
        if ticket is None or ticket.passed.done():
            return  # it left
        ticket.passed.set_result(None)
        self._released_at = time.monotonic()
        self._on_release()

    def _changed(self) -> None:
        self._on_waiting(len(self._tickets))
        self.replan()
