"""What Lex leaves on its connections to Postgres, and when it replaces them."""

import asyncio
import secrets
from collections.abc import AsyncIterator

import psycopg
import pytest
import structlog
from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url

from backend.domain.errors import StorageError
from backend.storage.factory import open_stores
from backend.storage.sql.database import Database
from backend.storage.sql.migrate import migrate, upgrade
from backend.storage.sql.postgres_engine import PREPARE_AFTER
from tests.postgres import PostgresServer

NAME = "current_setting('application_name')"
TIMEOUTS = "SELECT setting FROM pg_settings WHERE name LIKE '%timeout' AND setting <> reset_val"
PREPARED = "SELECT count(*) FROM pg_prepared_statements"


@pytest.fixture
async def url(postgres: PostgresServer) -> AsyncIterator[str]:
    with postgres.database() as url:
        yield url


def _pid(connection: Connection) -> int:
    return int(connection.scalar(text("SELECT pg_backend_pid()")) or 0)


async def test_time_outs_last_as_long_as_a_transaction(url: str) -> None:
    database = Database(url, pool_size=1)

    def limited(connection: Connection) -> list[str]:
        return sorted(connection.scalars(text(TIMEOUTS)))

    def unlimited(connection: Connection) -> list[str]:
        driver = connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        driver.rollback()
        return [row[0] for row in driver.execute(TIMEOUTS)]

    assert await database.run(limited) == ["30000", "5000", "8000"]
    assert await database.run(unlimited) == []
    await database.close()


@pytest.mark.parametrize(("prepared", "is_there"), [("auto", True), ("off", False)])
async def test_statements_are_prepared_on_direct_connections(
    url: str, *, prepared: str, is_there: bool
) -> None:
    database = Database(url, pool_size=1, prepared=prepared)  # type: ignore[arg-type]  # pytest's

    def state(connection: Connection) -> tuple[int, str]:
        prepared, name = connection.execute(text(f"SELECT ({PREPARED}), {NAME}")).one()
        return prepared, name

    for _ in range(PREPARE_AFTER + 1):
        await database.run(state)
    count, name = await database.run(state)

    assert (count > 0, name) == (is_there, "lex")
    await database.close()


@pytest.mark.parametrize(
    "mixed_up",
    [
        "EXECUTE no_such_statement",
        "DO $$ BEGIN RAISE SQLSTATE '42P05'; END $$",
        "DO $$ BEGIN RAISE 'prepared statement \"x\" requires 1' USING ERRCODE = '08P01'; END $$",
    ],
)
async def test_a_pooler_that_mixes_up_statements_costs_one_attempt(url: str, mixed_up: str) -> None:
    database = Database(url, pool_size=1)
    seen = []

    def mixed_up_once(connection: Connection) -> int:
        seen.append(_pid(connection))
        if len(seen) == 1:
            connection.execute(text(mixed_up))
        return int(connection.scalar(text(PREPARED)) or 0)

    with structlog.testing.capture_logs() as logs:
        counts = [await database.run(mixed_up_once) for _ in range(PREPARE_AFTER + 3)]

    assert len(set(seen)) == 2
    assert set(counts) == {0}
    assert [each["event"] for each in logs] == ["pooler_found"]
    await database.close()


async def test_a_worker_opens_no_more_connections_than_its_pool_has(url: str) -> None:
    database = Database(url, pool_size=2)

    used = await asyncio.gather(*(database.run(_pid) for _ in range(20)))

    assert len(set(used)) <= 2
    await database.close()


@pytest.mark.parametrize(
    ("sqlstate", "said"),
    [
        ("08P01", "query_wait_timeout"),
        ("XX000", "Unable to check out process from the pool due to timeout"),
        ("XX000", "Max client connections reached"),
        ("58000", "could not get connection from the pool - AllServersDown"),
        ("08000", "Timed-out waiting to acquire database connection"),
    ],
)
async def test_a_pooler_without_a_free_connection_is_waited_for(
    url: str, sqlstate: str, said: str
) -> None:
    database = Database(url, pool_size=1)
    attempts = []

    def refused_once(connection: Connection) -> int:
        attempts.append(1)
        if len(attempts) == 1:
            raising = f"RAISE '{said}' USING ERRCODE = '{sqlstate}'"
            connection.execute(text(f"DO $$ BEGIN {raising}; END $$"))
        return len(attempts)

    assert await database.run(refused_once) == 2
    await database.close()


@pytest.mark.parametrize("said", ["Tenant or user not found", "no such database: lex"])
async def test_a_pooler_that_would_refuse_again_is_not_asked_again(url: str, said: str) -> None:
    database = Database(url, pool_size=1)
    attempts = []

    def refused(connection: Connection) -> None:
        attempts.append(1)
        raising = f"RAISE '{said}' USING ERRCODE = 'XX000'"
        connection.execute(text(f"DO $$ BEGIN {raising}; END $$"))

    with pytest.raises(StorageError) as raised:
        await database.run(refused)

    assert attempts == [1]
    assert raised.value.explanation.startswith("The server ")
    await database.close()


async def test_a_connection_to_a_server_that_became_read_only_is_replaced(
    postgres: PostgresServer,
) -> None:
    role = f"demoted_{secrets.token_hex(4)}"
    with postgres.database() as url:
        direct = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        async with await psycopg.AsyncConnection.connect(direct, autocommit=True) as admin:
            await admin.execute(f"CREATE ROLE {role} LOGIN SUPERUSER")
            await admin.execute(f"ALTER ROLE {role} SET default_transaction_read_only = on")
            database = Database(make_url(url).set(username=role).render_as_string(), pool_size=2)
            before = await database.run(_pid)
            await admin.execute(f"ALTER ROLE {role} RESET default_transaction_read_only")

            await database.run(upgrade)

            assert await database.run(_pid) != before
            await database.close()


async def test_the_schema_may_be_migrated_over_another_url(postgres: PostgresServer) -> None:
    with postgres.database() as url, postgres.database() as other:
        stores = await open_stores(url, lease_seconds=15, migrate=True, migrate_url=url)
        await stores.close()

        with pytest.raises(StorageError, match="not at the schema") as raised:
            await open_stores(other, lease_seconds=15, migrate=True, migrate_url=url)
        assert raised.value.setting == "DATABASE_URL"
        nowhere = "postgresql://127.0.0.1:1/lex"
        with pytest.raises(StorageError) as raised:
            await open_stores(url, lease_seconds=15, migrate=True, migrate_url=nowhere)
        assert raised.value.setting == "MIGRATE_DATABASE_URL"
        migrate(url)
