"""Whether a failed transaction is the fault of the store or of the content."""

import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from backend.domain.conversation import Message
from backend.domain.errors import NotStorable, StorageError
from backend.storage.sql.database import Database
from backend.storage.sql.migrate import upgrade
from backend.storage.sql.sessions import SqlSessions
from backend.storage.sql.tables import messages, workers
from tests.contract.conversations import OWNER, ending, new_turn
from tests.postgres import PostgresServer
from tests.waiting import TIME_SCALE

Broken = Callable[[Connection], object]

OF_CONTENT = {
    "22001": "string_data_right_truncation",
    "22003": "numeric_value_out_of_range",
    "22021": "character_not_in_repertoire",
    "22P05": "untranslatable_character",
    "23502": "not_null_violation",
    "23505": "unique_violation",
    "23514": "check_violation",
    "54000": "program_limit_exceeded",
}
OF_STORE = {
    "08006": "connection_failure",
    "0A000": "feature_not_supported",
    "25006": "read_only_sql_transaction",
    "25P03": "idle_in_transaction_session_timeout",
    "28P01": "invalid_password",
    "3D000": "invalid_catalog_name",
    "40001": "serialization_failure",
    "40003": "statement_completion_unknown",
    "40P01": "deadlock_detected",
    "42501": "insufficient_privilege",
    "42P01": "undefined_table",
    "42703": "undefined_column",
    "53000": "insufficient_resources",
    "53100": "disk_full",
    "53200": "out_of_memory",
    "53300": "too_many_connections",
    "55006": "object_in_use",
    "55P03": "lock_not_available",
    "57014": "query_canceled",
    "57P01": "admin_shutdown",
    "57P02": "crash_shutdown",
    "57P03": "cannot_connect_now",
    "58000": "system_error",
    "58030": "io_error",
    "P0001": "raise_exception",
    "XX000": "internal_error",
    "XX001": "data_corrupted",
}


@pytest.fixture
async def postgres_database(postgres: PostgresServer) -> AsyncIterator[Database]:
    with postgres.database() as url:
        database = Database(url)
        await database.run(upgrade)
        yield database
        await database.close()


@pytest.fixture
async def impatient_database(postgres: PostgresServer) -> AsyncIterator[Database]:
    """A database that does not retry temporary failures for the whole ten seconds."""
    with postgres.database() as url:
        database = Database(url, timeout_seconds=TIME_SCALE)
        database.transact(upgrade)
        yield database
        await database.close()


@pytest.fixture
async def sqlite_database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/lex.db")
    await database.run(upgrade)
    yield database
    await database.close()


def fails_with(sqlstate: str) -> Broken:
    def broken(connection: Connection) -> None:
        connection.execute(text(f"DO $$ BEGIN RAISE SQLSTATE '{sqlstate}'; END $$"))

    return broken


@pytest.mark.parametrize("sqlstate", OF_CONTENT, ids=OF_CONTENT.get)
async def test_postgres_may_refuse_what_it_is_given(
    postgres_database: Database, sqlstate: str
) -> None:
    with pytest.raises(NotStorable):
        await postgres_database.run(fails_with(sqlstate))


@pytest.mark.parametrize("sqlstate", OF_STORE, ids=OF_STORE.get)
async def test_any_other_error_of_postgres_is_its_own(
    impatient_database: Database, sqlstate: str
) -> None:
    with pytest.raises(StorageError) as raised:
        await impatient_database.run(fails_with(sqlstate))

    assert not isinstance(raised.value, NotStorable)


def killed(connection: Connection) -> None:
    connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))


def timed_out(connection: Connection) -> None:
    connection.execute(text("SET LOCAL statement_timeout = '10ms'"))
    connection.execute(text("SELECT pg_sleep(5)"))  # Postgres ends it after 10 ms


def read_only(connection: Connection) -> None:
    connection.execute(text("SET TRANSACTION READ ONLY"))
    connection.execute(workers.insert(), {"id": "w1", "seen_at": 0.0})


@pytest.mark.parametrize("broken", [killed, timed_out, read_only])
async def test_what_happens_to_postgres_is_its_own(
    impatient_database: Database, broken: Broken
) -> None:
    with pytest.raises(StorageError) as raised:
        await impatient_database.run(broken)

    assert not isinstance(raised.value, NotStorable)


def too_long(connection: Connection) -> None:
    sqlite_of(connection).setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1000)
    connection.execute(workers.insert(), {"id": "w" * 2000, "seen_at": 0.0})


def twice(connection: Connection) -> None:
    connection.execute(workers.insert(), [{"id": "w1", "seen_at": 0.0}] * 2)


def of_no_type(connection: Connection) -> None:
    connection.exec_driver_sql("INSERT INTO workers VALUES (?, ?)", ("w1", object()))


def too_large(connection: Connection) -> None:
    connection.exec_driver_sql("INSERT INTO workers VALUES (?, ?)", ("w1", 2**70))


def no_text(connection: Connection) -> None:
    connection.execute(workers.insert(), {"id": "\ud800", "seen_at": 0.0})


def no_json(connection: Connection) -> None:
    row = {column.name: "x" for column in messages.c}
    connection.execute(messages.insert(), {**row, "tool_calls": {object(): object()}})


@pytest.mark.parametrize("broken", [too_long, twice, of_no_type, too_large, no_text, no_json])
async def test_sqlite_may_refuse_what_it_is_given(
    sqlite_database: Database, broken: Broken
) -> None:
    with pytest.raises(NotStorable):
        await sqlite_database.run(broken)


def full(connection: Connection) -> None:
    connection.exec_driver_sql("PRAGMA max_page_count = 1")
    connection.execute(workers.insert(), {"id": "w" * 100_000, "seen_at": 0.0})


def protected(connection: Connection) -> None:
    connection.exec_driver_sql("PRAGMA query_only = 1")
    connection.execute(workers.insert(), {"id": "w1", "seen_at": 0.0})


def without_a_table(connection: Connection) -> None:
    connection.exec_driver_sql("INSERT INTO nowhere VALUES (1)")


def closed(connection: Connection) -> None:
    sqlite_of(connection).close()
    connection.exec_driver_sql("SELECT 1")


@pytest.mark.parametrize("broken", [full, protected, without_a_table, closed])
async def test_any_other_error_of_sqlite_is_its_own(
    sqlite_database: Database, broken: Broken
) -> None:
    with pytest.raises(StorageError) as raised:
        await sqlite_database.run(broken)

    assert not isinstance(raised.value, NotStorable)


async def test_a_locked_file_is_no_fault_of_what_is_to_be_stored(
    sqlite_database: Database, tmp_path: Path
) -> None:
    def impatient(connection: Connection) -> None:
        connection.exec_driver_sql("PRAGMA busy_timeout = 1")

    await sqlite_database.run(impatient)
    other = sqlite3.connect(tmp_path / "lex.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(StorageError) as raised:
        await sqlite_database.run(lambda _: None)

    assert not isinstance(raised.value, NotStorable)
    other.close()


async def test_an_ending_with_a_nul_is_at_fault_in_postgres(postgres_database: Database) -> None:
    store, turn = SqlSessions(postgres_database, lease_seconds=15), new_turn()
    await store.claim(turn, history_tokens=100)

    with pytest.raises(NotStorable):
        await store.finish(ending(turn, Message.assistant(json.loads('"a NUL: \\u0000"'))))

    assert len(await store.messages(OWNER, "s1")) == 1


def sqlite_of(connection: Connection) -> sqlite3.Connection:
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver
