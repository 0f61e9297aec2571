"""All data of a SQLite file moves to Postgres, or none of it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from backend.domain.conversation import Message, Outcome
from backend.storage.factory import open_stores
from backend.storage.ports.stores import Stores
from backend.storage.sql.database import Database
from backend.storage.sql.move import MOVED, _count, main
from tests.contract.conversations import (
    EVERYTHING,
    OWNER,
    a_tool_round,
    ending,
    flat,
    new_turn,
    say,
)
from tests.contract.schemas import execute
from tests.contract.test_appointments import MINE
from tests.contract.test_ledger import CALLS, spend
from tests.postgres import PostgresServer

TODAY = datetime.now(UTC).date()
EARLIER = TODAY - timedelta(days=40)


@pytest.fixture
def target(postgres: PostgresServer) -> Iterator[str]:
    with postgres.database() as url:
        yield url


@pytest.fixture
def file(tmp_path: Path, migrated_file: Path) -> Path:
    copy = tmp_path / "lex.db"
    copy.write_bytes(migrated_file.read_bytes())
    return copy


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Stores]:
    stores = await open_stores(url, lease_seconds=60, migrate=True)
    yield stores
    await stores.close()


def url_of(file: Path) -> str:
    return f"sqlite:///{file}"


def leave(file: Path) -> None:
    """As after a minute without the worker."""
    execute(url_of(file), "UPDATE workers SET seen_at = seen_at - 61")


def counts(url: str) -> dict[str, int]:
    database = Database(url)
    try:
        return {table.name: database.transact(_count, table) for table in MOVED}
    finally:
        database.dispose()


def values(url: str, query: str) -> set[object]:
    database = Database(url)
    found = database.transact(lambda connection: set(connection.scalars(text(query))))
    database.dispose()
    return found


async def fill(file: Path) -> None:
    async with opened(url_of(file)) as stores:
        turn = new_turn("Wetter in Zürich?", id="turn-with-tool", idempotency_key="k")
        await stores.sessions.claim(turn, history_tokens=EVERYTHING)
        messages = (*a_tool_round(), Message.assistant("34°C"))
        assert await stores.sessions.finish(replace(ending(turn), messages=messages, calls=CALLS))
        await spend(stores, *CALLS, owner="somebody", session_id="s9")
        await stores.sessions.rename(OWNER, turn.session_id, title="Wetter 🌞")
        await stores.appointments.book(MINE)
        await stores.sessions.claim(new_turn("Cut", id="cut", session_id="s2"), history_tokens=9)
    execute(
        url_of(file),
        "INSERT INTO budget_windows VALUES ('client', 1, 2, 3)",
        f"UPDATE usage_days SET day = '{EARLIER}' WHERE owner = 'somebody'",  # noqa: S608 - a day
        "UPDATE dealerships SET phone = '1' WHERE id = 'manhattan'",
    )


async def test_everything_is_there_afterwards_and_lex_goes_on(
    file: Path, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await fill(file)
    leave(file)

    code = main({"DATABASE_URL": target}, [str(file)])

    assert (code, capsys.readouterr().err) == (0, "")
    assert counts(target) == counts(url_of(file))
    assert {"sessions", "turns", "turn_logs", "messages", "appointments", "usage_days"} <= {
        name for name, count in counts(target).items() if count
    }
    async with opened(target) as stores:
        stored = await stores.sessions.turn_with_log(OWNER, "turn-with-tool")
        cut = await say(stores.sessions, new_turn("Again", session_id="s2"), "Yes.")
        claim = await say(stores.sessions, new_turn("And?"), "Rain.")
        bookings = await stores.appointments.of_user(MINE.user_id)
        named = await stores.sessions.get(OWNER, "s1")
        usage = list(await stores.usage.by_day(EARLIER, EARLIER, owner="somebody"))
        showroom = await stores.showrooms.showroom()
        (first, _) = await stores.sessions.turns(OWNER, "s2")
    assert named.title == "Wetter 🌞"
    assert stored.log == b"log"
    assert tuple(stored.record.calls) == CALLS
    assert flat(claim.history)[:3] == [Message.user("Wetter in Zürich?"), *a_tool_round()]
    assert (first.outcome, [each.content for each in flat(cut.history)]) == (
        Outcome.FAILED,
        ["Cut"],
    )
    assert len(bookings) == 1
    assert sum(day.spent.calls for day in usage) == len(CALLS)
    assert "1" in {each.phone for each in showroom.dealerships}
    assert f"usage_days_{EARLIER:%Y%m%d}" in values(target, "SELECT relname FROM pg_class")
    assert values(target, "SELECT count(*) FROM usage_days_rest") == {0}


async def test_a_target_that_is_not_empty_is_refused_and_stays(
    file: Path, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await fill(file)
    leave(file)
    main({"MIGRATE_DATABASE_URL": target, "DATABASE_URL": "nothing"}, [str(file)])
    before = counts(target)
    capsys.readouterr()

    again = main({"DATABASE_URL": target}, [str(file)])

    assert again == 1
    assert "The target is not empty: " in capsys.readouterr().err
    assert counts(target) == before


async def test_a_changed_showroom_in_the_target_is_not_overwritten(
    file: Path, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with opened(target):
        execute(target, "UPDATE dealerships SET phone = '2' WHERE id = 'manhattan'")

    code = main({"DATABASE_URL": target}, [str(file)])

    assert (code, "dealerships has" in capsys.readouterr().err) == (1, True)


async def test_a_file_that_a_worker_uses_is_refused_and_nothing_moves(
    file: Path, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with opened(url_of(file)) as stores:
        await stores.sessions.renew("w1")

        code = main({"DATABASE_URL": target}, [str(file)])

    assert (code, "stop Lex" in capsys.readouterr().err) == (1, True)
    database = Database(target)
    assert database.transact(lambda connection: inspect(connection).get_table_names()) == []
    database.dispose()


@pytest.mark.parametrize(
    ("revision", "told"),
    [("0012", "run python -m backend.storage.sql.migrate"), ("9999", "A later version")],
)
def test_the_file_of_another_version_is_refused(
    revision: str, told: str, file: Path, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    execute(url_of(file), f"UPDATE alembic_version SET version_num = '{revision}'")  # noqa: S608 - a parameter of this test

    code = main({"DATABASE_URL": target}, [str(file)])

    assert (code, told in capsys.readouterr().err) == (1, True)


def test_what_cannot_be_moved_is_told(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing, same = tmp_path / "missing.db", url_of(tmp_path / "other.db")

    codes = [
        main({"DATABASE_URL": same}, [str(missing)]),
        main({"DATABASE_URL": same}, [str(file)]),
        main({}, [str(file)]),
        main({"DATABASE_URL": same}, []),
    ]

    told = capsys.readouterr().err.splitlines()
    assert codes == [1, 1, 2, 2]
    assert told[0].endswith("missing.db is not a file.")
    assert told[1] == "The target must be Postgres."
    assert not missing.exists()
