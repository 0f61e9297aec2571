"""Small transactions of one moment share a commit on SQLite, and each has its own outcome."""

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from backend.domain.errors import NotStorable, SessionBusy, StorageError
from backend.storage.sql.database import Database
from backend.storage.sql.migrate import upgrade
from backend.storage.sql.sessions import SqlSessions
from backend.storage.sql.threads import MOST_AT_ONCE
from tests.contract.conversations import EVERYTHING, OWNER, ending, new_turn


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/lex.db")
    await database.run(upgrade)
    await database.run(lambda connection: _sql(connection, "CREATE TABLE kept (n UNIQUE)"))
    yield database
    await database.close()


async def test_they_share_one_transaction(database: Database) -> None:
    begun = await _together(database, [database.run_small(_insert_and_name, n) for n in range(5)])

    assert len(set(begun)) == 1
    assert await _kept(database) == list(range(5))


async def test_a_commit_is_shared_by_a_limited_number(database: Database) -> None:
    many = range(MOST_AT_ONCE + 1)

    begun = await _together(database, [database.run_small(_insert_and_name, n) for n in many])

    assert len(set(begun)) == 2
    assert await _kept(database) == list(many)


async def test_others_do_not_share_and_keep_their_place(database: Database) -> None:
    runs = (database.run_small, database.run, database.run_small, database.run_small)

    first, other, *last = await _together(
        database, [run(_insert_and_name, n) for n, run in enumerate(runs)]
    )

    assert len({first, other, *last}) == 3
    assert last[0] == last[1]


async def test_a_refused_claim_is_undone_alone(database: Database) -> None:
    store = SqlSessions(database, lease_seconds=15)
    await store.claim(new_turn(session_id="busy"), history_tokens=EVERYTHING)
    turns = [new_turn(session_id=session) for session in ("a", "busy", "b")]

    a, busy, b = await _together(
        database, [store.claim(turn, history_tokens=EVERYTHING) for turn in turns]
    )

    assert isinstance(busy, SessionBusy)
    assert not isinstance(a, Exception)
    assert not isinstance(b, Exception)
    assert await store.finish(ending(turns[0]))
    assert await store.finish(ending(turns[2]))
    assert len(await store.turns(OWNER, "busy")) == 1


async def test_what_a_refused_one_wrote_is_undone(database: Database) -> None:
    def refused(connection: Connection) -> None:
        _sql(connection, "INSERT INTO kept VALUES (7)")
        raise LookupError

    answers = await _together(
        database,
        [
            database.run_small(_insert, 1),
            database.run_small(refused),
            database.run_small(_insert, 2),
        ],
    )

    assert [type(each) for each in answers] == [int, LookupError, int]
    assert await _kept(database) == [1, 2]


async def test_content_that_cannot_be_stored_fails_alone(database: Database) -> None:
    answers = await _together(
        database, [database.run_small(_insert, n) for n in (1, 2, 1, "\ud800", 3)]
    )

    assert [type(each) for each in answers] == [int, int, NotStorable, NotStorable, int]
    assert await _kept(database) == [1, 2, 3]


async def test_a_failed_commit_fails_all(database: Database, tmp_path: Path) -> None:
    def take_away(connection: Connection) -> None:
        _insert(connection, 2)
        (tmp_path / "lex.db").rename(tmp_path / "elsewhere.db")

    answers = await _together(
        database,
        [
            database.run_small(_insert, 1),
            database.run_small(take_away),
        ],
    )

    assert [type(each) for each in answers] == [StorageError, StorageError]
    assert "deleted or moved" in str(answers[0].explanation)
    (tmp_path / "elsewhere.db").rename(tmp_path / "lex.db")
    assert await _kept(database) == []


async def test_one_whose_caller_left_while_it_waited_never_starts(database: Database) -> None:
    async def left() -> int:
        caller = asyncio.create_task(database.run_small(_insert, 1))
        await asyncio.sleep(0)
        caller.cancel()
        return await caller

    left_out, kept = await _together(database, [left(), database.run_small(_insert, 2)])

    assert isinstance(left_out, asyncio.CancelledError)
    assert kept == 2
    assert await _kept(database) == [2]


async def test_one_that_has_started_outlives_its_caller(database: Database) -> None:
    has_begun, may_end = threading.Event(), threading.Event()

    def slow(connection: Connection) -> None:
        has_begun.set()
        may_end.wait(10)
        _insert(connection, 1)

    async def left() -> None:
        caller = asyncio.create_task(database.run_small(slow))
        await asyncio.to_thread(has_begun.wait)
        caller.cancel()
        may_end.set()
        await caller

    left_out, kept = await _together(database, [left(), database.run_small(_insert, 2)])

    assert isinstance(left_out, asyncio.CancelledError)
    assert kept == 2
    assert await _kept(database) == [1, 2]


async def _together(database: Database, calls: list[Coroutine[Any, Any, object]]) -> list[Any]:
    """Make the calls while the writer is busy, so that all of them wait for it."""
    is_busy, may_end = threading.Event(), threading.Event()

    def occupy(_: Connection) -> None:
        is_busy.set()
        may_end.wait(10)

    busy = asyncio.create_task(database.run(occupy))
    await asyncio.to_thread(is_busy.wait)
    running = [asyncio.create_task(call) for call in calls]
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # each has submitted its transaction
    may_end.set()
    answers = await asyncio.gather(*running, return_exceptions=True)
    await busy
    return answers


def _insert(connection: Connection, n: object) -> int:
    connection.execute(text("INSERT INTO kept VALUES (:n)"), {"n": n})
    return 2


def _insert_and_name(connection: Connection, n: int) -> object:
    """Insert, and return the transaction, which a test keeps, so that no other has its identity."""
    _insert(connection, n)
    return connection.get_transaction()


async def _kept(database: Database) -> list[int]:
    return await database.read(
        lambda connection: list(connection.scalars(text("SELECT n FROM kept ORDER BY n")))
    )


def _sql(connection: Connection, statement: str) -> None:
    connection.exec_driver_sql(statement)
