"""Old data is deleted by the store's clock, or not at all."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from backend.app.retention import Retention
from backend.app.store_clock import StoreClock
from backend.domain.conversation import Message, now
from backend.domain.errors import SessionNotFound
from backend.storage.memory.sessions import MemorySessions
from tests.contract.conversations import OWNER, new_turn, say

DAY = 86400.0


def wrong_by(difference: timedelta) -> Callable[[], datetime]:
    return lambda: now() + difference


@dataclass
class Past:
    """A clock that can be set back, to store old data."""

    ago: timedelta = timedelta()

    def __call__(self) -> datetime:
        return now() - self.ago


def is_refused() -> float | None:
    return REGISTRY.get_sample_value("lex_retention_refused")


async def retention_over(sessions: MemorySessions, clock: Callable[[], datetime]) -> Retention:
    store_clock = StoreClock(sessions, worker="w1", clock=clock)
    await store_clock.look()
    return Retention(
        sessions,
        store_clock,
        logs_kept_seconds=DAY,
        sessions_kept_seconds=30 * DAY,
        usage=sessions.usage,
        usage_kept_days=60,
    )


def keeping_sessions(
    sessions: MemorySessions, clock: StoreClock, *, logs_kept_seconds: float
) -> Retention:
    return Retention(
        sessions,
        clock,
        logs_kept_seconds=logs_kept_seconds,
        sessions_kept_seconds=0,
        usage=sessions.usage,
        usage_kept_days=0,
    )


@pytest.mark.parametrize("days", [40, 1, -1, -40])
async def test_a_worker_whose_clock_is_wrong_forgets_nothing_and_says_so(days: int) -> None:
    sessions, turn = MemorySessions(lease_seconds=15), new_turn()
    await say(sessions, turn, "Hi.")
    retention = await retention_over(sessions, wrong_by(timedelta(days=days)))

    with capture_logs() as lines:
        await retention.purge()

    assert (await sessions.turn_with_log(OWNER, turn.id)).log == b"log"
    assert is_refused() == 1
    (line,) = lines
    assert (line["event"], line["log_level"]) == ("retention_refused", "warning")
    assert line["difference_seconds"] == pytest.approx(-days * DAY, abs=60)


async def test_a_worker_whose_clock_is_right_forgets_what_is_old() -> None:
    ages = {"new": timedelta(), "logged": timedelta(days=2), "old": timedelta(days=31)}
    past = Past()
    sessions = MemorySessions(lease_seconds=15, wall_clock=past)
    turns = {}
    for session_id, past.ago in ages.items():
        turns[session_id] = turn = new_turn(session_id=session_id)
        await say(sessions, turn, "Hi.")
    past.ago = timedelta()
    retention = await retention_over(sessions, now)

    await retention.purge()

    assert (await sessions.turn_with_log(OWNER, turns["new"].id)).log == b"log"
    assert (await sessions.turn_with_log(OWNER, turns["logged"].id)).log is None
    with pytest.raises(SessionNotFound):
        await sessions.get(OWNER, "old")
    assert is_refused() == 0


async def test_sessions_are_kept_for_ever_if_nobody_says_for_how_long() -> None:
    past = Past(timedelta(days=10_000))
    sessions = MemorySessions(lease_seconds=15, wall_clock=past)
    await say(sessions, new_turn(), "Hi.")
    past.ago = timedelta()
    clock = StoreClock(sessions, worker="w1")
    await clock.look()

    await keeping_sessions(sessions, clock, logs_kept_seconds=1).purge()

    assert (await sessions.get(OWNER, "s1")).turns == 1
    assert Message.assistant("Hi.") in [m.message for m in await sessions.messages(OWNER, "s1")]


async def test_the_gauge_follows_the_clock_between_two_purges() -> None:
    sessions = MemorySessions(lease_seconds=15)
    difference = timedelta(days=40)
    store_clock = StoreClock(sessions, worker="w1", clock=lambda: now() + difference)
    retention = keeping_sessions(sessions, store_clock, logs_kept_seconds=DAY)

    await retention.watch_clock()
    before = is_refused()
    difference = timedelta()
    await retention.watch_clock()

    assert (before, is_refused()) == (1, 0)
