"""The tables that Postgres partitions by day, and the way there from tables without partitions."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest
from alembic import command
from sqlalchemy import text
from structlog.testing import capture_logs

from backend.domain.usage import ModelCall, Usage
from backend.storage.factory import open_stores
from backend.storage.ports.stores import Stores
from backend.storage.sql.database import Database
from backend.storage.sql.migrate import main, migrate
from backend.storage.sql.partitions import DAYS_AHEAD
from tests.contract.conversations import OWNER, ending, new_turn, say
from tests.contract.schemas import execute, leave_unfinished, migrate_to
from tests.postgres import PostgresServer

DAY = 86400.0


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    with postgres.database() as url:
        yield url


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    database = Database(url)
    found = database.transact(lambda connection: connection.execute(text(query)).all())
    database.dispose()
    return [tuple(row) for row in found]


def partitions(url: str, table: str) -> set[str]:
    query = "SELECT inhrelid::regclass::text, inhparent::regclass::text FROM pg_inherits"
    return {str(name) for name, parent in rows(url, query) if parent == table}


def days(table: str, *offsets: int) -> set[str]:
    today = datetime.now(UTC).date()
    return {f"{table}_{today + timedelta(days=offset):%Y%m%d}" for offset in offsets}


def add_day(url: str, table: str, offset: int) -> str:
    """Add a partition for the day so many days from today; return its name."""
    (name,) = days(table, offset)
    day = datetime.now(UTC).date() + timedelta(days=offset)
    end = day + timedelta(days=1)
    zone = " 00:00:00+00" if table == "turn_logs" else ""
    execute(
        url,
        f"CREATE TABLE {name} PARTITION OF {table} "
        f"FOR VALUES FROM ('{day}{zone}') TO ('{end}{zone}')",
    )
    return name


async def opened(url: str) -> Stores:
    return await open_stores(url, lease_seconds=60, migrate=True)


def call_of(tokens: int) -> ModelCall:
    usage = Usage(tokens, 1)
    return ModelCall(model="m", purpose="turn", usage=usage, is_estimated=False, cost=None)


async def test_a_new_database_has_partitions_for_the_next_days(url: str) -> None:
    stores = await opened(url)

    ahead = range(DAYS_AHEAD + 1)
    assert partitions(url, "turn_logs") == {*days("turn_logs", *ahead), "turn_logs_rest"}
    assert partitions(url, "usage_days") == {*days("usage_days", *ahead), "usage_days_rest"}
    await stores.close()


async def test_maintenance_makes_what_is_missing(url: str) -> None:
    stores = await opened(url)
    missing = days("turn_logs", 1, 2)
    execute(url, *(f"DROP TABLE {name}" for name in missing))

    await stores.maintain()
    await stores.maintain()

    assert missing < partitions(url, "turn_logs")
    await stores.close()


async def test_whole_days_of_logs_are_dropped_and_rows_stay_until_then(url: str) -> None:
    stores = await opened(url)
    turn = new_turn()
    await say(stores.sessions, turn, "Hi.")
    gone, kept = add_day(url, "turn_logs", -3), add_day(url, "turn_logs", -1)
    execute(
        url,
        "INSERT INTO turn_logs VALUES ('a', 'rest', now() - interval '9 days', 'x')",
        "INSERT INTO turn_logs VALUES ('a', 'kept', now() - interval '1 days', 'x')",
    )

    await stores.sessions.purge_logs(kept_seconds=1.5 * DAY)

    assert gone not in partitions(url, "turn_logs")
    assert kept in partitions(url, "turn_logs")
    left = {str(turn_id) for (turn_id,) in rows(url, "SELECT turn_id FROM turn_logs")}
    assert left == {"kept", turn.id}
    await stores.close()


async def test_days_of_the_ledger_are_dropped(url: str) -> None:
    stores = await opened(url)
    gone, kept = add_day(url, "usage_days", -9), add_day(url, "usage_days", -2)
    execute(
        url,
        "INSERT INTO usage_days "
        "SELECT 'a', current_date - age, 'm', 'turn', 1, 1, 1, 0, 0, 0, 0, 0 "
        "FROM unnest(ARRAY[40, 9, 2]) AS age",
    )

    await stores.usage.purge(kept_days=5)

    assert gone not in partitions(url, "usage_days")
    assert kept in partitions(url, "usage_days")
    found = await stores.usage.by_day(date(2000, 1, 1), date(2100, 1, 1), owner=None)
    today = datetime.now(UTC).date()
    assert [(today - each.day).days for each in found] == [2]
    await stores.close()


async def test_a_role_that_may_not_create_tables_works_on(url: str) -> None:
    """Logs go to the default partition, and are deleted there row by row."""
    stores = await opened(url)
    await stores.close()
    schema = rows(url, "SELECT current_schema()")[0][0]
    execute(
        url,
        "DO $$ BEGIN CREATE ROLE lex_reader_writer LOGIN; "
        "EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        f"GRANT USAGE ON SCHEMA {schema} TO lex_reader_writer",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} "
        "TO lex_reader_writer",
        *(f"DROP TABLE {name}" for name in days("turn_logs", 0)),
    )
    add_day(url, "turn_logs", -9)
    poor = url.replace("postgresql+psycopg://postgres", "postgresql+psycopg://lex_reader_writer")
    assert poor != url
    stores = await open_stores(poor, lease_seconds=60, migrate=False)

    with capture_logs() as lines:
        await stores.maintain()
        turn = new_turn()
        await say(stores.sessions, turn, "Hi.")
        stored = await stores.sessions.turn_with_log(OWNER, turn.id)
        await stores.sessions.purge_logs(kept_seconds=2 * DAY)
        await stores.sessions.purge_logs(kept_seconds=0)

    assert stored.log == b"log"
    assert (await stores.sessions.turn_with_log(OWNER, turn.id)).log is None
    assert {line["event"] for line in lines} == {"partition_not_changed"}
    assert {line["cause"] for line in lines} == {psycopg.errors.InsufficientPrivilege.__name__}
    await stores.close()


async def test_an_upgrade_can_be_finished_while_workers_serve(url: str) -> None:
    """Workers from before and after the finish read each other's logs, and share the ledger."""
    leave_unfinished(url)
    before = await opened(url)
    asked = [new_turn(f"Question {number}") for number in range(4)]
    await before.sessions.claim(asked[0], history_tokens=100)
    first = ending(asked[0])
    await before.sessions.finish(replace(first, calls=[call_of(10)]))
    await before.sessions.claim(asked[1], history_tokens=100)

    assert main({"DATABASE_URL": url}, ["--finish"]) == 0
    await before.sessions.finish(replace(ending(asked[1]), calls=[call_of(20)]))
    after = await opened(url)
    await after.sessions.claim(asked[2], history_tokens=100)
    await after.sessions.finish(replace(ending(asked[2]), calls=[call_of(30)]))
    await before.sessions.claim(asked[3], history_tokens=100)
    await before.sessions.finish(replace(ending(asked[3]), calls=[call_of(40)]))

    for stores in (before, after):
        for turn in asked:
            assert (await stores.sessions.turn_with_log(OWNER, turn.id)).log == b"log"
        (day,) = await stores.usage.by_day(date(2000, 1, 1), date(2100, 1, 1), owner=OWNER)
        assert day.spent.usage.input_tokens == 100
    logs_apart = rows(url, "SELECT turn_id FROM turn_logs")
    assert logs_apart == [(asked[2].id,)]
    assert days("usage_days", 0) < partitions(url, "usage_days")
    await before.sessions.delete(OWNER, "s1")
    assert rows(url, "SELECT turn_id FROM turn_logs") == []
    await before.close()
    await after.close()


async def test_finishing_an_upgrade_fails_no_turn_that_runs_meanwhile(url: str) -> None:
    leave_unfinished(url)
    stores = await opened(url)
    is_over, all_talk = False, asyncio.Barrier(7)

    async def converse(session_id: str) -> int:
        turns = 0
        while not is_over:
            turn = new_turn(session_id=session_id)
            await stores.sessions.claim(turn, history_tokens=100)
            assert await stores.sessions.finish(replace(ending(turn), calls=[call_of(1)]))
            assert (await stores.sessions.turn_with_log(OWNER, turn.id)).log == b"log"
            turns += 1
            if turns == 1:
                await all_talk.wait()
        return turns

    talking = [asyncio.create_task(converse(f"s{number}")) for number in range(6)]
    await all_talk.wait()
    finished = await asyncio.to_thread(main, {"DATABASE_URL": url}, ["--finish"])
    is_over = True
    turns = sum(await asyncio.gather(*talking))

    assert finished == 0
    (day,) = await stores.usage.by_day(date(2000, 1, 1), date(2100, 1, 1), owner=OWNER)
    assert day.spent.calls == turns > 6
    await stores.close()


async def test_a_finished_upgrade_can_be_taken_back_with_its_logs(url: str) -> None:
    stores = await opened(url)
    turn = new_turn()
    await say(stores.sessions, turn, "Hi.")
    await stores.close()

    migrate_to(url, command.downgrade, "0012")

    assert rows(url, "SELECT id, log FROM turns") == [(turn.id, b"log")]
    migrate(url)
    stores = await opened(url)
    assert (await stores.sessions.turn_with_log(OWNER, turn.id)).log == b"log"
    await stores.close()


def test_an_unknown_argument_of_the_migration_is_refused(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main({"DATABASE_URL": url}, ["--finnish"]) == 2
    assert "--finish" in capsys.readouterr().err
