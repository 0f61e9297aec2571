"""A worker may consider others dead only while it renews its own lease in time."""

import math

import pytest
from sqlalchemy import Connection

from backend.domain.conversation import Outcome
from backend.domain.errors import SessionBusy
from backend.storage.factory import open_stores
from backend.storage.sql.database import Database
from backend.storage.sql.failure_detector import FailureDetector
from backend.storage.sql.sessions import SqlSessions
from backend.storage.sql.stores import open_sql
from backend.storage.sql.tables import workers
from tests.contract.conftest import LONG_LEASE
from tests.contract.conversations import EVERYTHING, OWNER, new_turn

LEASE_SECONDS = 15.0


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def detector(clock: Clock) -> FailureDetector:
    return FailureDetector(LEASE_SECONDS, clock=clock)


def renewed_at(detector: FailureDetector, clock: Clock, *times: float) -> None:
    for seconds in times:
        clock.seconds = seconds
        detector.renewed()


def test_a_worker_that_renews_every_third_of_its_lease_judges(
    detector: FailureDetector, clock: Clock
) -> None:
    renewed_at(detector, clock, 0, 5, 10, 15)

    assert detector.lost_after_seconds() == LEASE_SECONDS


def test_one_renewal_that_was_missed_does_not_suspend_the_detector(
    detector: FailureDetector, clock: Clock
) -> None:
    renewed_at(detector, clock, 0, 10)

    assert detector.lost_after_seconds() == LEASE_SECONDS


def test_a_renewal_that_comes_late_suspends_it_for_a_lease(
    detector: FailureDetector, clock: Clock
) -> None:
    renewed_at(detector, clock, 0, 5, 20)
    then = detector.lost_after_seconds()
    renewed_at(detector, clock, 25, 30, 34.9)
    before_the_end = detector.lost_after_seconds()
    renewed_at(detector, clock, 35)

    assert (then, before_the_end) == (math.inf, math.inf)
    assert detector.lost_after_seconds() == LEASE_SECONDS


def test_a_worker_that_was_frozen_judges_nobody_before_it_has_renewed(
    detector: FailureDetector, clock: Clock
) -> None:
    renewed_at(detector, clock, 0, 5)

    clock.seconds = 60

    assert detector.lost_after_seconds() == math.inf


async def test_a_worker_that_was_frozen_does_not_close_its_own_turns_by_reading(
    sql_url: str, clock: Clock
) -> None:
    stores = await open_stores(sql_url, lease_seconds=LONG_LEASE, migrate=True)
    database = Database(sql_url)
    # With a lease of 0, every worker counts as dead unless judgement is suspended.
    detector = FailureDetector(0.0, clock=clock)
    sessions, turn = SqlSessions(database, lease_seconds=0.0, detector=detector), new_turn()
    await sessions.claim(turn, history_tokens=EVERYTHING)
    await sessions.renew(turn.worker)

    clock.seconds = 1
    frozen = await sessions.turn(OWNER, turn.id)
    closed = await sessions.close_lost()
    with pytest.raises(SessionBusy):
        await sessions.claim(new_turn(), history_tokens=EVERYTHING)
    await sessions.renew(turn.worker)
    awake = await sessions.turn(OWNER, turn.id)

    assert (frozen.outcome, closed, awake.outcome) == (None, 0, Outcome.FAILED)
    await database.close()
    await stores.close()


async def test_a_worker_that_has_just_started_judges_nobody(sql_url: str) -> None:
    before = await open_sql(sql_url, lease_seconds=LONG_LEASE, migrate=True)
    turn = new_turn(worker="could not renew")
    await before.sessions.claim(turn, history_tokens=EVERYTHING)
    await before.database.run(_expire_all)

    after = await open_sql(sql_url, lease_seconds=LONG_LEASE, migrate=False)
    record = await after.sessions.turn(OWNER, turn.id)
    held = await after.sessions.running([turn.key])

    assert record.outcome is None
    assert held == {turn.id}
    await after.close()
    await before.close()


def _expire_all(connection: Connection) -> None:
    connection.execute(workers.update().values(seen_at=0.0))
