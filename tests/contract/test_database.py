"""How the SQL stores use their database: threads, transactions, indexes, speed."""

import asyncio
import math
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from pydantic import SecretStr
from sqlalchemy import Connection, create_engine, select, text
from sqlalchemy.sql import ClauseElement

from backend.domain.conversation import Message, Outcome, now
from backend.domain.errors import SessionBusy, StorageError
from backend.storage.factory import open_stores
from backend.storage.sql import appointments, claims, histories, leases, sessions, summaries
from backend.storage.sql.database import Database
from backend.storage.sql.dialects import DatabaseTime
from backend.storage.sql.migrate import upgrade
from backend.storage.sql.rows import message_row
from backend.storage.sql.sessions import SqlSessions
from backend.storage.sql.summaries import SqlSummaries
from backend.storage.sql.tables import messages, metadata, turns, workers
from backend.storage.sql.tables import sessions as sessions_table
from tests.contract.conversations import OWNER, ending, flat, new_turn, say
from tests.postgres import PostgresServer
from tests.waiting import LIMIT_SECONDS, TIME_SCALE, waiting


@pytest.fixture
async def database(sql_url: str) -> AsyncIterator[Database]:
    database = Database(sql_url)
    await database.run(upgrade)
    yield database
    await database.close()


@pytest.fixture
async def postgres_database(postgres: PostgresServer) -> AsyncIterator[Database]:
    with postgres.database() as url:
        database = Database(url)
        await database.run(upgrade)
        yield database
        await database.close()


@pytest.fixture
async def sqlite_database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/lex.db")
    await database.run(upgrade)
    yield database
    await database.close()


async def test_an_error_undoes_the_whole_transaction(database: Database) -> None:
    def half(connection: Connection) -> None:
        connection.execute(workers.insert(), {"id": "w1", "seen_at": 0.0})
        raise LookupError

    with pytest.raises(LookupError):
        await database.run(half)

    assert await database.run(_count_workers) == 0


async def test_a_transaction_outlives_a_caller_that_leaves(database: Database) -> None:
    def slow(connection: Connection) -> None:
        time.sleep(0.2)
        connection.execute(workers.insert(), {"id": "w1", "seen_at": 0.0})

    caller = asyncio.create_task(database.run(slow))
    await asyncio.sleep(0.05)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller

    await asyncio.sleep(0.3)
    assert await database.run(_count_workers) == 1


async def test_a_transaction_does_not_block_the_event_loop(database: Database) -> None:
    blocked = asyncio.create_task(database.run(lambda _: time.sleep(0.6)))

    started = time.perf_counter()
    for _ in range(10):
        await asyncio.sleep(0.001)

    assert time.perf_counter() - started < 0.5
    await blocked


async def test_an_error_does_not_repeat_what_was_said(database: Database) -> None:
    def broken(connection: Connection) -> None:
        connection.execute(text("SELECT :said FROM nowhere"), {"said": "a secret"})

    with pytest.raises(StorageError) as raised:
        await database.run(broken)

    assert raised.value.__cause__
    assert "secret" not in str(raised.value)
    assert "secret" not in str(raised.value.__cause__)


async def test_text_that_has_no_encoding_is_refused_and_the_turn_can_still_end(
    database: Database,
) -> None:
    await _refuses(SqlSessions(database, lease_seconds=15), "a lone surrogate: \ud800")


async def test_postgres_refuses_a_nul_and_the_turn_can_still_end(
    postgres_database: Database,
) -> None:
    await _refuses(SqlSessions(postgres_database, lease_seconds=15), "a NUL: \x00")


async def test_a_lost_race_is_run_once_more(postgres_database: Database) -> None:
    attempts = []

    def deadlocked_once(connection: Connection) -> int:
        attempts.append(1)
        if len(attempts) == 1:
            connection.execute(text("DO $$ BEGIN RAISE deadlock_detected; END $$"))
        return len(attempts)

    assert await postgres_database.run(deadlocked_once) == 2


async def test_connections_that_the_server_closed_are_replaced(
    postgres_database: Database,
) -> None:
    all_are_connected = threading.Barrier(4, timeout=LIMIT_SECONDS)

    def connect(connection: Connection) -> None:
        connection.execute(text("SELECT 1"))
        all_are_connected.wait()

    def close_the_others(connection: Connection) -> int:
        closed = connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
        return len(closed.all())

    await asyncio.gather(*(postgres_database.run(connect) for _ in range(4)))

    assert await postgres_database.run(close_the_others) >= 3

    counts = await asyncio.gather(*(postgres_database.run(_count_workers) for _ in range(4)))
    assert counts == [0] * 4


async def test_the_clock_of_the_database_is_finer_than_a_second(database: Database) -> None:
    first = await database.run(_database_time)
    await asyncio.sleep(0.05)
    second = await database.run(_database_time)

    assert 0.03 < second - first < 1
    assert abs(second - time.time()) < 5


async def test_a_worker_that_was_killed_long_ago_is_forgotten(database: Database) -> None:
    store = SqlSessions(database, lease_seconds=15)
    await database.run(_add_worker, "killed", timedelta(days=2))
    await database.run(_add_worker, "silent", timedelta(minutes=1))
    await store.renew("leaving")

    await store.retire("leaving")

    assert await database.run(_workers) == ["silent"]


async def test_a_claim_costs_the_same_in_a_long_session_as_in_a_short_one(
    database: Database,
) -> None:
    await database.run(_fill, "short", turns_stored=10)
    await database.run(_fill, "long", turns_stored=1000)
    store = SqlSessions(database, lease_seconds=15)

    short = long = math.inf
    for _ in range(60):  # other programs only slow a run down, so the fastest runs count
        short = min(short, await _seconds_to_claim(store, "short"))
        long = min(long, await _seconds_to_claim(store, "long"))

    assert long < 5 * short


async def test_the_history_is_read_from_its_end(sqlite_database: Database) -> None:
    plan = await sqlite_database.run(_plan_of_history)

    assert "SEARCH messages USING INDEX" in plan
    assert "SCAN" not in plan
    assert "TEMP B-TREE" not in plan


async def test_what_is_to_be_summarized_is_found_without_looking_at_all_sessions(
    sqlite_database: Database,
) -> None:
    plan = await sqlite_database.run(_plan_of_due)

    assert "SEARCH sessions USING INDEX sessions_untold" in plan
    assert "TEMP B-TREE" not in plan


@pytest.mark.parametrize("name", ["LOST_OF_SESSION", "LOST_TURN", "_ALL_LOST"])
async def test_a_turn_whose_worker_is_gone_is_found_by_keys(
    sqlite_database: Database, name: str
) -> None:
    plan = await sqlite_database.run(_plan_of_lost, name)

    assert "sessions USING" in plan
    assert "(owner=? AND id=?)" in plan
    assert "SCAN sessions" not in plan
    assert "SCAN" not in plan.replace("SCAN turns USING INDEX turns_running", "")


async def test_a_session_that_is_being_claimed_for_a_turn_is_passed_over(
    postgres_database: Database,
) -> None:
    store = SqlSessions(postgres_database, lease_seconds=15)
    idle = SqlSummaries(postgres_database, lease_seconds=15)
    await store.claim(turn := new_turn(), history_tokens=100)
    await store.finish(ending(turn))
    is_locked, may_end = threading.Event(), threading.Event()
    claiming = asyncio.create_task(postgres_database.run(_lock_sessions, is_locked, may_end))
    await asyncio.to_thread(is_locked.wait)

    async with waiting():
        meanwhile = await idle.claim(idle_seconds=0, claim_seconds=9, history_tokens=100)
    may_end.set()
    await claiming

    assert meanwhile is None
    assert await idle.claim(idle_seconds=0, claim_seconds=9, history_tokens=100)


def test_statements_are_compiled_once() -> None:
    statements = [
        value
        for module in (claims, leases, sessions, summaries, appointments)
        for value in vars(module).values()
        if isinstance(value, ClauseElement)
    ]

    assert len(statements) > 20
    assert all(statement._generate_cache_key() for statement in statements)


async def _refuses(store: SqlSessions, content: str) -> None:
    turn = new_turn()
    await store.claim(turn, history_tokens=100)

    with pytest.raises(StorageError):
        await store.finish(ending(turn, Message.assistant("fine"), Message.assistant(content)))

    assert len(await store.messages(OWNER, "s1")) == 1
    assert await store.finish(ending(turn, Message.assistant("cleaned")))


def _count_workers(connection: Connection) -> int:
    return len(_workers(connection))


def _workers(connection: Connection) -> list[str]:
    return list(connection.scalars(select(workers.c.id)))


def _add_worker(connection: Connection, name: str, unseen: timedelta) -> None:
    seen_at = (now() - unseen).timestamp()
    connection.execute(workers.insert(), {"id": name, "seen_at": seen_at})


def _database_time(connection: Connection) -> float:
    return float(connection.scalar(select(DatabaseTime())) or 0)


def _fill(connection: Connection, session_id: str, *, turns_stored: int) -> None:
    """Store turns of two messages with a thousand characters each."""
    place = {"owner": OWNER, "session_id": session_id}
    session = {**claims.new_session(OWNER, session_id), "created_at": now()}
    counted = {"turns": turns_stored, "messages": 2 * turns_stored}
    connection.execute(sessions_table.insert(), {**session, **counted})
    numbers = range(1, turns_stored + 1)
    connection.execute(
        turns.insert(),
        [
            {
                **place,
                "id": f"{session_id}-{number}",
                "number": number,
                "worker": "w1",
                "started_at": now(),
                "log": b"x" * 2000,
            }
            for number in numbers
        ],
    )
    connection.execute(
        messages.insert(),
        [
            {
                **place,
                **message_row(Message.assistant("x" * 1000)),
                "position": position,
                "turn_id": f"{session_id}-{(position + 1) // 2}",
            }
            for position in range(1, 2 * turns_stored + 1)
        ],
    )


async def _seconds_to_claim(store: SqlSessions, session_id: str) -> float:
    turn = new_turn(session_id=session_id)
    started = time.perf_counter()
    claim = await store.claim(turn, history_tokens=6_000)
    seconds = time.perf_counter() - started
    assert len(flat(claim.history)) >= 10
    await store.finish(ending(turn))
    return seconds


def _lock_sessions(
    connection: Connection, is_locked: threading.Event, may_end: threading.Event
) -> None:
    connection.execute(select(sessions_table.c.id).with_for_update())
    is_locked.set()
    may_end.wait(10)


def _plan_of_due(connection: Connection) -> str:
    due = summaries._DUE.params(idle_seconds=60.0, lease_seconds=15.0)
    query = due.compile(connection, compile_kwargs={"literal_binds": True})
    rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}")
    return "\n".join(row.detail for row in rows)


def _plan_of_lost(connection: Connection, name: str) -> str:
    lost = getattr(leases, name).params(owner="o", of="x", lease_seconds=15.0)
    query = lost.compile(connection, compile_kwargs={"literal_binds": True})
    rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}")
    return "\n".join(row.detail for row in rows)


def _plan_of_history(connection: Connection) -> str:
    page = histories._PAGE_BACKWARDS.params(owner="o", session_id="s", before=9, after=0)
    query = page.compile(connection, compile_kwargs={"literal_binds": True})
    rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}")
    return "\n".join(row.detail for row in rows)


def test_a_new_file_may_be_opened_by_many_at_once(tmp_path: Path) -> None:
    def open_it(number: int) -> int:
        database = Database(f"sqlite:///{tmp_path}/{number // 8}.db")
        try:
            return database.transact(lambda connection: connection.scalar(text("SELECT 1")) or 0)
        finally:
            database.dispose()

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(open_it, range(320)))

    assert answers == [1] * 320


async def test_a_deleted_session_leaves_no_row_anywhere(sql_url: str) -> None:
    stores = await open_stores(SecretStr(sql_url), lease_seconds=60, migrate=True)
    for session_id in ("gone", "kept"):
        turn = new_turn("Hello", session_id=session_id)
        await say(stores.sessions, turn, "Hi.")
        await stores.sessions.claim(new_turn("More", session_id=session_id), history_tokens=9)

    await stores.sessions.delete(OWNER, "gone")

    await stores.close()
    engine = create_engine(sql_url)
    with engine.connect() as connection:
        for name, table in metadata.tables.items():
            column = table.c.id if name == "sessions" else table.c.get("session_id")
            if column is not None:
                left = connection.execute(select(column)).scalars().all()
                assert set(left) == {"kept"}, name
        everything = [
            str(row)
            for table in metadata.tables.values()
            for row in connection.execute(select(table)).all()
        ]
    engine.dispose()
    assert [row for row in everything if "gone" in row] == []


async def test_the_claim_for_a_summary_is_not_counted_as_that_of_a_turn(database: Database) -> None:
    def counted() -> list[float]:
        name = "lex_store_transaction_seconds_count"
        operations = ({"operation": "claim"}, {"operation": "claim_idle"})
        return [REGISTRY.get_sample_value(name, labels) or 0 for labels in operations]

    before = counted()
    await SqlSessions(database, lease_seconds=15).claim(new_turn(), history_tokens=0)
    idle = SqlSummaries(database, lease_seconds=15)
    for _ in range(2):
        await idle.claim(idle_seconds=0, claim_seconds=1, history_tokens=0)

    assert [new - old for new, old in zip(counted(), before, strict=True)] == [1, 2]


async def test_nobody_is_given_up_for_what_the_database_could_not_take(database: Database) -> None:
    lease_seconds = 4 * TIME_SCALE  # half of it is the margin for a busy machine
    store = SqlSessions(database, lease_seconds=lease_seconds)
    turn = new_turn(worker="w1")
    await store.claim(turn, history_tokens=100)
    await _rename(database, "workers", "away")
    with pytest.raises(StorageError):
        await store.renew("w2")
    await asyncio.sleep(lease_seconds / 2)
    with pytest.raises(StorageError):
        await store.renew("w2")
    await asyncio.sleep(lease_seconds * 0.6)
    await _rename(database, "away", "workers")

    running = await store.running([turn.key])
    stored = await store.turn_with_log(OWNER, turn.id)
    with pytest.raises(SessionBusy):
        await store.claim(new_turn(worker="w2"), history_tokens=100)
    await asyncio.sleep(lease_seconds)
    later = await store.turn_with_log(OWNER, turn.id)

    assert running == {turn.id}
    assert (stored.record.outcome, later.record.outcome) == (None, Outcome.FAILED)


async def _rename(database: Database, table: str, other: str) -> None:
    def rename(connection: Connection) -> None:
        connection.execute(text(f"ALTER TABLE {table} RENAME TO {other}"))

    await database.run(rename)
