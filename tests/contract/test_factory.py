"""Opening a store by its URL, closing it, and checking its schema."""

import re

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from pydantic import SecretStr
from sqlalchemy import Connection, inspect

from backend.domain.errors import StorageError
from backend.storage.factory import open_stores
from backend.storage.sql.database import Database
from backend.storage.sql.migrate import main, migrate
from backend.storage.sql.tables import metadata
from tests.contract.conversations import EVERYTHING, OWNER, new_turn, say
from tests.contract.schemas import execute, migrate_to


async def test_what_was_stored_is_there_after_a_restart(sql_url: str) -> None:
    before = await open_stores(SecretStr(sql_url), lease_seconds=15, migrate=True)
    await say(before.sessions, new_turn("Hello"), "Hi")
    await before.close()

    after = await open_stores(SecretStr(sql_url), lease_seconds=15, migrate=True)

    assert len(await after.sessions.messages(OWNER, "s1")) == 2
    await after.close()


async def test_a_migrated_database_is_opened_without_migrating(sql_url: str) -> None:
    migrate(sql_url)

    stores = await open_stores(sql_url, lease_seconds=15, migrate=False)

    await stores.ping()
    await stores.close()


async def test_a_database_that_was_not_migrated_is_refused(sql_url: str) -> None:
    with pytest.raises(StorageError, match=r"run python -m backend.storage.sql.migrate"):
        await open_stores(sql_url, lease_seconds=15, migrate=False)


async def test_a_database_of_something_else_is_refused(sql_url: str) -> None:
    migrate(sql_url)
    execute(sql_url, "UPDATE alembic_version SET version_num = 'from the future'")

    with pytest.raises(StorageError, match="cannot be migrated by this version"):
        await open_stores(sql_url, lease_seconds=15, migrate=True)
    with pytest.raises(StorageError, match="not at the schema of this version"):
        await open_stores(sql_url, lease_seconds=15, migrate=False)


async def test_what_an_operator_changed_stays(sql_url: str) -> None:
    migrate(sql_url)
    execute(sql_url, "UPDATE dealerships SET phone = '+1 212-555-0199' WHERE id = 'manhattan'")
    execute(sql_url, "DELETE FROM profiles")

    stores = await open_stores(sql_url, lease_seconds=15, migrate=True)

    manhattan = (await stores.showrooms.showroom()).dealership("manhattan")
    assert manhattan
    assert manhattan.phone == "+1 212-555-0199"
    assert await stores.profiles.profile("123") is None
    await stores.close()


def test_the_migrations_lead_to_the_tables(sql_url: str) -> None:
    migrate(sql_url)
    database = Database(sql_url)

    differences = database.transact(_differences)
    columns = {
        table.name: database.transact(_columns, table.name) for table in metadata.sorted_tables
    }

    database.dispose()
    assert differences == []
    assert columns == {table.name: table.columns.keys() for table in metadata.sorted_tables}


async def test_what_was_said_survives_a_migration_there_and_back(sql_url: str) -> None:
    before = await open_stores(sql_url, lease_seconds=15, migrate=True)
    await say(before.sessions, new_turn("Hello"), "Hi")
    await before.close()

    migrate_to(sql_url, command.downgrade, "0002")
    after = await open_stores(sql_url, lease_seconds=15, migrate=True)

    assert len(await after.sessions.messages(OWNER, "s1")) == 2
    held = {"idle_seconds": 0.0, "claim_seconds": 60.0}
    assert await after.summaries.claim(**held, history_tokens=EVERYTHING) is None
    await say(after.sessions, new_turn("Bye"), "See you")
    assert await after.summaries.claim(**held, history_tokens=EVERYTHING)
    await after.close()


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("sqlite://", "SQLite needs a file"),
        ("sqlite:///:memory:", "SQLite needs a file"),
        ("mysql://localhost/lex", "no store for mysql://"),
        ("nonsense", "cannot be read"),
        ("postgresql://nobody@localhost:port/lex", "cannot be read"),
        ("postgresql://nobody:secret@127.0.0.1:1/lex", "cannot be stored at the moment"),
        ("sqlite:////no/such/folder/lex.db", "cannot be stored at the moment"),
    ],
)
async def test_a_store_that_cannot_be_opened_says_so(url: str, sentence: str) -> None:
    with pytest.raises(StorageError, match=sentence) as raised:
        await open_stores(url, lease_seconds=15, migrate=True)

    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
async def test_postgres_is_known_by_its_usual_names(scheme: str, sql_url: str) -> None:
    url = sql_url.replace("postgresql+psycopg", scheme)

    stores = await open_stores(url, lease_seconds=15, migrate=True)

    await stores.ping()
    await stores.close()


async def test_a_closed_store_refuses(sql_url: str) -> None:
    stores = await open_stores(sql_url, lease_seconds=15, migrate=True)
    await stores.close()

    with pytest.raises(StorageError):
        await stores.ping()
    with pytest.raises(StorageError):
        await stores.sessions.claim(new_turn(), history_tokens=EVERYTHING)


def test_the_migration_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    code = main({})

    assert code == 2
    assert capsys.readouterr().err.startswith("DATABASE_URL is not set")


def test_the_migration_says_in_a_line_what_went_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    code = main({"DATABASE_URL": "postgresql://nobody:secret@127.0.0.1:1/lex"})

    said = capsys.readouterr().err
    assert code == 1
    assert "refused" in said
    assert "secret" not in said
    assert said.count("\n") == 1


def _differences(connection: Connection) -> list[object]:
    options = {"compare_server_default": True, "include_name": _is_of_a_whole_table}
    context = MigrationContext.configure(connection, opts=options)
    return list(compare_metadata(context, metadata))


def _is_of_a_whole_table(name: str | None, kind: str, parents: object) -> bool:  # noqa: ARG001 - Alembic's
    return kind != "table" or name is None or not re.search(r"_(rest|\d{8})$", name)


def _columns(connection: Connection, table: str) -> list[str]:
    return [column["name"] for column in inspect(connection).get_columns(table)]
