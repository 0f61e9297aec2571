"""What a store deletes after its retention time, and by which clock."""

import asyncio
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from backend.app.store_clock import StoreClock
from backend.domain.conversation import Message, now
from backend.domain.errors import SessionNotFound
from backend.storage.factory import open_stores
from backend.storage.ports.store_time import ClockDoubt
from backend.storage.ports.stores import Stores
from backend.storage.sql import retention
from tests.contract.conversations import EVERYTHING, OWNER, ending, new_turn, say
from tests.contract.schemas import execute
from tests.postgres import PostgresServer

BEFORE_AND_AFTER_FINISHING = True


async def test_a_session_whose_turn_runs_is_never_forgotten(stores: Stores) -> None:
    turn = new_turn("Are you there?")
    await stores.sessions.claim(turn, history_tokens=EVERYTHING)
    await asyncio.sleep(0.05)

    await stores.sessions.purge_sessions(kept_seconds=0)

    assert await stores.sessions.finish(ending(turn, Message.assistant("Yes.")))
    await asyncio.sleep(0.05)
    await stores.sessions.purge_sessions(kept_seconds=0)
    with pytest.raises(SessionNotFound):
        await stores.sessions.get(OWNER, "s1")


async def test_a_session_whose_worker_died_is_forgotten_in_time(stores: Stores) -> None:
    turn = new_turn()
    await stores.sessions.claim(turn, history_tokens=EVERYTHING)
    await stores.sessions.retire(turn.worker)
    await asyncio.sleep(0.05)

    await stores.sessions.purge_sessions(kept_seconds=60)
    kept = await stores.sessions.get(OWNER, "s1")
    await stores.sessions.purge_sessions(kept_seconds=0)

    assert kept.turns == 1
    with pytest.raises(SessionNotFound):
        await stores.sessions.get(OWNER, "s1")


async def test_the_log_of_a_turn_that_runs_is_not_forgotten(stores: Stores) -> None:
    turn = new_turn()
    await stores.sessions.claim(turn, history_tokens=EVERYTHING)

    await stores.sessions.purge_logs(kept_seconds=0)
    await stores.sessions.finish(ending(turn))

    assert (await stores.sessions.turn_with_log(OWNER, turn.id)).log == b"log"


async def test_more_than_a_batch_is_forgotten_batch_by_batch(stores: Stores) -> None:
    count = 2 * retention.SESSIONS_AT_ONCE + 1
    for number in range(count):
        await stores.sessions.create(OWNER, f"s{number}")
    await asyncio.sleep(0.05)

    await stores.sessions.purge_sessions(kept_seconds=0)

    for number in range(count):
        with pytest.raises(SessionNotFound):
            await stores.sessions.get(OWNER, f"s{number}")


@pytest.mark.parametrize("kept_seconds", [1e12, 1e300])
async def test_what_is_kept_for_ages_is_kept(stores: Stores, kept_seconds: float) -> None:
    turn = new_turn()
    await say(stores.sessions, turn, "Hi.")

    await stores.sessions.purge_logs(kept_seconds=kept_seconds)
    await stores.sessions.purge_sessions(kept_seconds=kept_seconds)

    assert (await stores.sessions.turn_with_log(OWNER, turn.id)).log == b"log"


async def test_a_store_tells_the_time(stores: Stores) -> None:
    before = now()
    told = await stores.sessions.time("w1")

    assert told.now.tzinfo is not None
    assert before - timedelta(seconds=1) <= told.now <= now() + timedelta(seconds=1)


async def test_a_look_at_the_clock_waits_for_no_writer(tmp_path: Path) -> None:
    stores = await open_stores(f"sqlite:///{tmp_path}/lex.db", lease_seconds=15, migrate=True)
    with closing(sqlite3.connect(tmp_path / "lex.db", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")

        told = await stores.sessions.time("w1")

    assert told.is_own_clock
    await stores.close()


async def test_postgres_has_a_clock_of_its_own(postgres: PostgresServer) -> None:
    with postgres.database() as url:
        stores = await open_stores(url, lease_seconds=15, migrate=True)

        told = await stores.sessions.time("w1")

        assert (told.newest, told.is_own_clock) == (None, False)
        await stores.close()


async def test_sqlite_has_the_clock_of_its_worker_and_tells_what_was_stored_last(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path}/lex.db"
    stores = await open_stores(url, lease_seconds=15, migrate=True)
    new = await stores.sessions.time("w1")
    await stores.sessions.renew("w1")
    renewed = await stores.sessions.time("w1")
    seen_by_another = await stores.sessions.time("w2")
    await say(stores.sessions, new_turn(worker="w1"), "Hi.")
    spoken = await stores.sessions.time("w1")
    execute(url, "UPDATE turns SET finished_at = '2031-02-03 04:05:06.000000'")
    ahead = await stores.sessions.time("w1")

    assert new.is_own_clock
    assert (new.newest, renewed.newest) == (None, None), "its own lease proves nothing"
    assert seen_by_another.newest
    assert abs(seen_by_another.now - seen_by_another.newest) < timedelta(seconds=5)
    assert spoken.newest
    assert spoken.newest <= spoken.now
    assert ahead.newest
    assert ahead.newest.year == 2031
    await stores.close()


async def test_a_worker_that_starts_later_doubts_a_clock_that_others_doubt(tmp_path: Path) -> None:
    """By the time of the second worker's look, all stored times may come from the new clock."""
    url = f"sqlite:///{tmp_path}/lex.db"
    stores = await open_stores(url, lease_seconds=15, migrate=True)
    await say(stores.sessions, new_turn(), "Hi.")
    execute(url, "UPDATE turns SET finished_at = '2001-02-03 04:05:06.000000'")
    first = StoreClock(stores.sessions, worker="w1")
    await first.look()
    await stores.sessions.renew("w1")
    await say(stores.sessions, new_turn(), "Still there.")
    second = StoreClock(stores.sessions, worker="w2")

    await second.look()

    assert (first.is_trusted, second.is_trusted) == (False, False)
    assert second.difference_seconds == first.difference_seconds > 0
    await stores.close()


async def test_a_doubt_ends_with_its_time_and_with_the_clock_that_it_was_of(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/lex.db"
    stores = await open_stores(url, lease_seconds=15, migrate=True)
    hour = ClockDoubt(jump_seconds=86400, lasts_seconds=3600)

    await stores.sessions.doubt_clock(hour)
    lasting = (await stores.sessions.time("w1")).doubt
    execute(url, "UPDATE clock_doubts SET began_at = began_at + 86400, ends_at = ends_at + 86400")
    set_back = (await stores.sessions.time("w1")).doubt
    await stores.sessions.doubt_clock(ClockDoubt(jump_seconds=86400, lasts_seconds=0))
    over = (await stores.sessions.time("w1")).doubt

    assert lasting is not None
    assert lasting.jump_seconds == 86400
    assert 3590 < lasting.lasts_seconds <= 3600
    assert (set_back, over) == (None, None)
    await stores.close()


async def test_a_restart_of_an_idle_service_raises_no_doubt(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/lex.db"
    stores = await open_stores(url, lease_seconds=15, migrate=True)
    await StoreClock(stores.sessions, worker="w1").look()
    await say(stores.sessions, new_turn(), "Hi.")
    execute(url, "UPDATE turns SET finished_at = '2001-02-03 04:05:06.000000'")
    execute(url, "UPDATE clock_marks SET at = at - 7200, uptime_seconds = uptime_seconds - 7200")
    await stores.sessions.retire("w1")
    again = StoreClock(stores.sessions, worker="w2")

    await again.look()

    assert again.is_trusted
    await stores.close()
