"""A database over several releases: no release loses data, and adjacent ones can share it."""

import asyncio
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect
from structlog.testing import capture_logs

from backend.domain.conversation import Outcome, ToolCall
from backend.domain.errors import StorageError
from backend.storage.factory import open_stores
from backend.storage.ports.appointments import SlotTaken
from backend.storage.ports.stores import Stores
from backend.storage.sql.database import Database
from backend.storage.sql.migrate import _config, _revisions, main, migrate
from tests.contract.conversations import EVERYTHING, OWNER, new_turn, said, say
from tests.contract.schemas import execute, migrate_to
from tests.contract.test_appointments import MINE
from tests.postgres import PostgresServer

TAKEN_AWAY = {"0004": {("turns", "is_to_stop")}}
"""Columns that revisions from before the first release drop."""

FIRST_RELEASE = Path(__file__).with_name("first_release.sql").read_text().split(";\n")[:-1]
"""Rows as the first release wrote them: a whole turn with a tool, and a turn of a dead worker."""

TOMORROW = (
    "ALTER TABLE sessions ADD COLUMN mood TEXT",
    "ALTER TABLE turns ADD COLUMN price FLOAT",
    "ALTER TABLE messages ADD COLUMN language TEXT NOT NULL DEFAULT 'en'",
    "ALTER TABLE appointments ADD COLUMN reminded_at FLOAT",
    "ALTER TABLE workers ADD COLUMN version TEXT",
    "CREATE TABLE reminders (id TEXT PRIMARY KEY)",
    "CREATE INDEX sessions_mood ON sessions (mood)",
    "UPDATE alembic_version SET version_num = '9999'",
)
"""Changes that a later release may make to the database of this one."""


async def everything_works(stores: Stores) -> None:
    first = await say(stores.sessions, new_turn("Hello", session_id="new"), "Hi")
    again = await say(stores.sessions, new_turn("And?", session_id="new"), "Yes")
    await stores.sessions.renew("w1")
    assert said(first) == []
    assert said(again) == ["Hello", "Hi"]
    await stores.sessions.rename(OWNER, "new", title="Named")
    titles = [session.title for session in await stores.sessions.of_owner(OWNER, limit=9)]
    assert titles[0] == "Named"

    booking = await stores.appointments.book(MINE)
    assert await stores.appointments.of_user("123") == [booking]
    with pytest.raises(SlotTaken):
        await stores.appointments.book(replace(MINE, user_id="9"))

    claimed = await stores.summaries.claim(
        idle_seconds=0.0, claim_seconds=60.0, history_tokens=EVERYTHING
    )
    assert claimed
    await stores.sessions.delete(OWNER, "new")


def at_the_first_release(url: str) -> None:
    migrate_to(url, command.upgrade, "0001")
    execute(url, *FIRST_RELEASE)


async def test_a_database_of_the_first_release_is_read_and_written_on(sql_url: str) -> None:
    at_the_first_release(sql_url)

    stores = await open_stores(sql_url, lease_seconds=15, migrate=True)

    weather = await stores.sessions.messages(OWNER, "s1")
    assert [stored.message.content for stored in weather] == [
        "Weather in Zürich?",
        "",
        "34°C",
        "It is 34°C.",
    ]
    assert weather[1].message.tool_calls == (ToolCall("c1", "get_weather", "{}"),)
    session = await stores.sessions.get(OWNER, "s1")
    assert (session.turns, session.usage.input_tokens) == (1, 100)
    (turn,) = await stores.sessions.turns(OWNER, "s1")
    assert (turn.outcome, turn.model) == (Outcome.COMPLETED, "llama")
    (booking,) = await stores.appointments.of_user("123")
    assert (booking.confirmation_id, booking.turn_id) == ("SC-22334455", None)
    claim = await say(stores.sessions, new_turn("And tomorrow?"), "Rain.")
    assert said(claim) == [stored.message.content for stored in weather]
    await everything_works(stores)
    await stores.close()


async def test_a_turn_that_was_cut_before_the_upgrade_is_repaired(sql_url: str) -> None:
    at_the_first_release(sql_url)
    stores = await open_stores(sql_url, lease_seconds=15, migrate=True)

    claim = await say(stores.sessions, new_turn("Hello?", session_id="s2"), "Yes.")

    cut, _ = await stores.sessions.turns(OWNER, "s2")
    assert cut.outcome is Outcome.FAILED
    assert said(claim) == ["Anybody there?"]
    await stores.close()


@pytest.mark.parametrize("how", ["finished", "unfinished", "unfinished, then finished"])
async def test_a_database_gets_what_this_version_adds_before_and_after_it_is_finished(
    sql_url: str, how: str
) -> None:
    migrate_to(sql_url, command.upgrade, "0014" if how == "finished" else "0013")

    migrate(sql_url, finish=how == "unfinished, then finished")
    stores = await open_stores(sql_url, lease_seconds=15, migrate=False)

    assert revisions(sql_url) == ["0015" if how == "unfinished" else "0016"]
    await everything_works(stores)
    await stores.close()


def test_indexes_that_the_operator_has_made_are_no_obstacle(sql_url: str) -> None:
    migrate_to(sql_url, command.upgrade, "0013")
    execute(
        sql_url,
        "CREATE INDEX sessions_last_used ON sessions (owner, last_turn_at, id)"
        " WHERE last_turn_at IS NOT NULL",
        "CREATE INDEX sessions_unused ON sessions (owner, created_at, id)"
        " WHERE last_turn_at IS NULL",
    )

    assert main({"DATABASE_URL": sql_url}) == 0


def test_an_upgrade_leaves_the_showroom_to_its_operator(sql_url: str) -> None:
    at_the_first_release(sql_url)

    migrate(sql_url)

    async def names() -> list[str]:
        stores = await open_stores(sql_url, lease_seconds=15, migrate=False)
        showroom = await stores.showrooms.showroom()
        await stores.close()
        return [dealership.name for dealership in showroom.dealerships]

    assert asyncio.run(names()) == ["Manhattan"]


@pytest.mark.parametrize("migrates", [True, False], ids=["migrating", "not migrating"])
async def test_this_release_works_on_what_a_later_one_added(sql_url: str, migrates: bool) -> None:
    migrate(sql_url)
    execute(sql_url, *TOMORROW)

    with capture_logs() as lines:
        stores = await open_stores(sql_url, lease_seconds=15, migrate=migrates)

    assert [(line["event"], line["log_level"], line["revision"]) for line in lines] == [
        ("database_is_newer", "warning", "9999")
    ]
    await everything_works(stores)
    await stores.close()


async def test_a_release_that_serves_goes_on_while_a_later_one_migrates(sql_url: str) -> None:
    stores = await open_stores(sql_url, lease_seconds=15, migrate=True)
    await say(stores.sessions, new_turn("Before"), "Yes.")

    execute(sql_url, *TOMORROW)

    claim = await say(stores.sessions, new_turn("After"), "Yes.")
    assert said(claim) == ["Before", "Yes."]
    await everything_works(stores)
    await stores.close()


def test_the_migration_of_a_release_that_was_rolled_back_succeeds(sql_url: str) -> None:
    migrate(sql_url)
    execute(sql_url, *TOMORROW)

    assert main({"DATABASE_URL": sql_url}) == 0


@pytest.mark.parametrize("migrates", [True, False], ids=["migrating", "not migrating"])
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("ALTER TABLE turns DROP COLUMN model", r"turns\.model is gone"),
        ("DROP TABLE profiles", "profiles is gone"),
        ("ALTER TABLE workers RENAME COLUMN seen_at TO seen", r"workers\.seen_at is gone"),
    ],
)
async def test_what_a_later_release_took_away_is_refused(
    sql_url: str, change: str, sentence: str, migrates: bool
) -> None:
    migrate(sql_url)
    execute(sql_url, *TOMORROW, change)

    with pytest.raises(StorageError, match=f"migrated by a later version.*{sentence}"):
        await open_stores(sql_url, lease_seconds=15, migrate=migrates)


async def test_what_this_release_would_not_write_is_refused(sql_url: str) -> None:
    migrate(sql_url)
    execute(
        sql_url,
        "DROP TABLE workers",
        "CREATE TABLE workers (id TEXT PRIMARY KEY, seen_at FLOAT NOT NULL, zone TEXT NOT NULL)",
        "UPDATE alembic_version SET version_num = '9999'",
    )

    with pytest.raises(StorageError, match=r"workers\.zone must be written"):
        await open_stores(sql_url, lease_seconds=15, migrate=True)


def test_a_migration_does_not_wait_long_for_a_table(postgres: PostgresServer) -> None:
    """Readers of the table wait behind the migration meanwhile."""
    with postgres.database() as url:
        migrate_to(url, command.upgrade, "0003")
        holder = Database(url)

        def hold(connection: Connection) -> int:
            connection.exec_driver_sql("SELECT * FROM turns")
            return main({"DATABASE_URL": url})

        assert holder.transact(hold) == 1
        assert main({"DATABASE_URL": url}) == 0
        holder.dispose()


def test_a_revision_only_adds(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/lex.db"
    scripts = ScriptDirectory.from_config(_config()).walk_revisions()
    numbers = sorted(script.revision for script in scripts)
    found = {number: columns(url) for number in numbers if migrated(url, number)}

    gone = {
        later: found[earlier] - found[later]
        for earlier, later in pairwise(numbers)
        if found[earlier] - found[later]
    }

    assert gone == TAKEN_AWAY


def migrated(url: str, revision: str) -> bool:
    migrate_to(url, command.upgrade, revision)
    return True


def revisions(url: str) -> list[str]:
    database = Database(url)
    found = database.transact(_revisions)
    database.dispose()
    return found


def columns(url: str) -> set[tuple[str, str]]:
    def read(connection: Connection) -> set[tuple[str, str]]:
        database = inspect(connection)
        return {
            (table, column["name"])
            for table in database.get_table_names()
            for column in database.get_columns(table)
        }

    database = Database(url)
    found = database.transact(read)
    database.dispose()
    return found
