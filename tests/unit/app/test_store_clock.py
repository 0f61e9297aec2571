"""A worker's clock is compared with the store's, or with stored times."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from backend.app.store_clock import STEADY_SECONDS, StoreClock
from backend.storage.memory.sessions import MemorySessions
from backend.storage.ports.store_time import ClockDoubt, ClockMark, StoreTime

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@dataclass
class Time:
    """Time that tests advance. The clocks of worker and store may each be wrong."""

    seconds: float = 0.0
    machine_started_at: float = -1_000_000.0
    worker_is_wrong_by: timedelta = timedelta()
    store_is_wrong_by: timedelta = timedelta()

    def worker(self) -> datetime:
        return NOON + timedelta(seconds=self.seconds) + self.worker_is_wrong_by

    def store(self) -> datetime:
        return NOON + timedelta(seconds=self.seconds) + self.store_is_wrong_by

    def monotonic(self) -> float:
        return self.seconds

    def uptime(self) -> float:
        return self.seconds - self.machine_started_at


@dataclass
class TimedSessions(MemorySessions):
    """A store with its own clock, or the worker's. `newest` is the newest stored time."""

    passing: Time
    newest: datetime | None = None
    is_own_clock: bool = False
    mark: ClockMark | None = None
    doubts: list[ClockDoubt] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(lease_seconds=15)

    async def time(self, worker: str) -> StoreTime:  # noqa: ARG002 - the port has it
        return StoreTime(self.passing.store(), self.newest, self.is_own_clock, mark=self.mark)

    async def mark_clock(self, uptime_seconds: float) -> None:
        self.mark = ClockMark(self.passing.store(), uptime_seconds)

    async def doubt_clock(self, doubt: ClockDoubt) -> None:
        self.doubts.append(doubt)


def clock_over(sessions: TimedSessions) -> StoreClock:
    passing = sessions.passing
    return StoreClock(
        sessions,
        worker="w1",
        clock=passing.worker,
        monotonic=passing.monotonic,
        uptime=passing.uptime,
    )


@pytest.mark.parametrize(
    ("wrong_by", "is_trusted"),
    [
        (timedelta(), True),
        (timedelta(seconds=60), True),
        (timedelta(seconds=-60), True),
        (timedelta(seconds=61), False),
        (timedelta(seconds=-61), False),
        (timedelta(days=40), False),
        (timedelta(days=-40), False),
    ],
)
@pytest.mark.parametrize("whose", ["worker", "store"])
async def test_clocks_may_differ_by_a_minute(
    wrong_by: timedelta, is_trusted: bool, whose: str
) -> None:
    time = Time()
    setattr(time, f"{whose}_is_wrong_by", wrong_by)
    clock = clock_over(TimedSessions(time))

    await clock.look()

    assert clock.is_trusted is is_trusted
    assert abs(clock.difference_seconds) == abs(wrong_by.total_seconds())


async def test_clocks_that_agree_again_are_trusted_at_once() -> None:
    time = Time(worker_is_wrong_by=timedelta(days=40))
    clock = clock_over(TimedSessions(time))
    await clock.look()

    time.worker_is_wrong_by = timedelta()
    await clock.look()

    assert clock.is_trusted


async def test_the_time_is_the_stores_however_the_clock_of_the_worker_jumps() -> None:
    time = Time(worker_is_wrong_by=timedelta(days=-3))
    clock = clock_over(TimedSessions(time))
    await clock.look()

    time.worker_is_wrong_by = timedelta(days=40)
    time.seconds = 90

    assert clock.now() == NOON + timedelta(seconds=90)


@pytest.mark.parametrize("days", [40, 1])
async def test_a_clock_that_is_ahead_of_all_that_is_stored_is_doubted_for_an_hour(
    days: int,
) -> None:
    time = Time()
    newest = NOON - timedelta(days=days)
    sessions = TimedSessions(time, newest=newest, is_own_clock=True)
    clock = clock_over(sessions)

    trusted = []
    for seconds in (0, 10, STEADY_SECONDS - 1, STEADY_SECONDS):
        time.seconds = seconds
        await clock.look()
        sessions.newest = time.store()  # its own turns, stored with the time that may be wrong
        trusted.append(clock.is_trusted)

    assert trusted == [False, False, False, True]


async def test_a_restart_within_a_minute_raises_no_doubt() -> None:
    sessions = TimedSessions(Time(), newest=NOON - timedelta(seconds=50), is_own_clock=True)
    clock = clock_over(sessions)

    await clock.look()

    assert clock.is_trusted


async def test_a_new_store_raises_no_doubt() -> None:
    clock = clock_over(TimedSessions(Time(), is_own_clock=True))

    await clock.look()

    assert clock.is_trusted


async def test_a_clock_behind_what_is_stored_is_doubted_until_it_has_caught_up() -> None:
    time = Time()
    sessions = TimedSessions(time, newest=NOON + timedelta(days=1), is_own_clock=True)
    clock = clock_over(sessions)

    trusted = []
    for seconds in (0, 2 * STEADY_SECONDS, 86400):
        time.seconds = seconds
        await clock.look()
        trusted.append(clock.is_trusted)

    assert trusted == [False, False, True]


@pytest.mark.parametrize("jump", [timedelta(days=40), timedelta(days=-40), timedelta(minutes=5)])
async def test_a_clock_that_jumps_while_it_is_watched_is_doubted(jump: timedelta) -> None:
    time = Time()
    clock = clock_over(TimedSessions(time, newest=NOON, is_own_clock=True))
    await clock.look()

    time.seconds = 10
    time.store_is_wrong_by = time.worker_is_wrong_by = jump
    await clock.look()

    assert not clock.is_trusted


async def test_an_idle_service_raises_no_doubt() -> None:
    time = Time()
    clock = clock_over(TimedSessions(time, newest=NOON, is_own_clock=True))

    for seconds in range(0, 86400, 600):
        time.seconds = seconds
        await clock.look()
        assert clock.is_trusted


async def started_again(time: Time, sessions: TimedSessions) -> StoreClock:
    """Run an idle service for a while, and start it again a day later."""
    clock = clock_over(sessions)
    for seconds in (0, 10, 20):
        time.seconds = seconds
        await clock.look()
        assert clock.is_trusted
    time.seconds = 86400
    again = clock_over(sessions)
    await again.look()
    return again


async def test_a_service_that_was_away_raises_no_doubt() -> None:
    time = Time()

    clock = await started_again(time, TimedSessions(time, newest=NOON, is_own_clock=True))

    assert clock.is_trusted


class Jumping(Time):
    """The clock is set ahead while the service is away."""

    def store(self) -> datetime:
        return super().store() + timedelta(days=30 if self.seconds > 3600 else 0)

    worker = store


async def test_a_clock_that_jumps_while_the_service_is_away_is_doubted() -> None:
    time = Jumping()

    clock = await started_again(time, TimedSessions(time, newest=NOON, is_own_clock=True))

    assert not clock.is_trusted


class Rebooting(Time):
    """The machine restarts while the service is away."""

    def uptime(self) -> float:
        return super().uptime() if self.seconds < 3600 else 60.0


async def test_after_a_restart_of_the_machine_nobody_knows_for_how_long_it_was_away() -> None:
    time = Rebooting()

    clock = await started_again(time, TimedSessions(time, newest=NOON, is_own_clock=True))

    assert not clock.is_trusted


async def test_a_clock_in_doubt_is_not_marked() -> None:
    time = Time()
    sessions = TimedSessions(time, newest=NOON - timedelta(days=1), is_own_clock=True)

    await clock_over(sessions).look()

    assert sessions.mark is None
