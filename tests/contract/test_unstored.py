"""Endings that the database refuses: kept if the database is at fault, dropped if they are."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from sqlalchemy import Connection, text

from backend.domain.conversation import Message, Outcome
from backend.domain.errors import StorageError
from backend.storage.ports.sessions import NewTurn
from backend.storage.sql.database import Database
from backend.storage.sql.migrate import upgrade
from backend.storage.sql.sessions import SqlSessions
from backend.turns.unstored import WHOLE_TRIES, UnstoredEndings
from tests.contract.conversations import EVERYTHING, OWNER, ending, new_turn

AWAY = ("messages", "sessions", "turns", "workers")


@pytest.fixture
async def database(sql_url: str) -> AsyncIterator[Database]:
    database = Database(sql_url)
    await database.run(upgrade)
    yield database
    await database.close()


async def unstored_for(sessions: SqlSessions, turn: NewTurn, answer: str) -> UnstoredEndings:
    await sessions.claim(turn, history_tokens=EVERYTHING)
    unstored = UnstoredEndings(sessions, worker=turn.worker)
    unstored.add(ending(turn, Message.assistant(answer)))
    return unstored


async def rename(database: Database, table: str, other: str) -> None:
    def renamed(connection: Connection) -> None:
        connection.execute(text(f"ALTER TABLE {table} RENAME TO {other}"))

    await database.run(renamed)


async def contents(sessions: SqlSessions) -> list[str]:
    return [stored.message.content for stored in await sessions.messages(OWNER, "s1")]


@pytest.mark.parametrize("table", AWAY)
async def test_an_ending_outlasts_a_database_that_lacks_something(
    database: Database, table: str
) -> None:
    sessions, turn = SqlSessions(database, lease_seconds=60), new_turn("Hello")
    unstored = await unstored_for(sessions, turn, "Hi.")

    await rename(database, table, "away")
    for _ in range(3 * WHOLE_TRIES):
        await unstored.store()
    await rename(database, "away", table)
    await unstored.store()

    assert await contents(sessions) == ["Hello", "Hi."]
    assert (await sessions.turn(OWNER, turn.id)).outcome is Outcome.COMPLETED


async def test_a_time_out_after_which_the_ending_is_stored_leaves_one_truth(
    database: Database,
) -> None:
    """The client was told that its turn was not stored, so a replay must tell the same."""
    sessions, turn = SqlSessions(database, lease_seconds=60), new_turn("Hello")
    unstored = await unstored_for(sessions, turn, "Hi.")
    assert await sessions.finish(ending(turn, Message.assistant("Hi.")))  # later than its time-out
    unstored.add(replace(ending(turn, Message.assistant("Hi.")), log=b"not stored"))

    await unstored.store()

    assert await contents(sessions) == ["Hello", "Hi."]
    assert (await sessions.turn_with_log(OWNER, turn.id)).log == b"not stored"


async def test_an_ending_that_no_database_can_hold_is_given_up(database: Database) -> None:
    sessions, turn = SqlSessions(database, lease_seconds=60), new_turn("Hello")
    unstored = await unstored_for(sessions, turn, "a lone surrogate: \ud800")

    held = []
    for _ in range(WHOLE_TRIES + 1):
        held.append((await sessions.turn(OWNER, turn.id)).outcome)
        await unstored.store()

    assert held == [None] * (WHOLE_TRIES + 1)
    assert await contents(sessions) == ["Hello"]
    assert (await sessions.turn(OWNER, turn.id)).outcome is Outcome.COMPLETED


async def test_a_lease_cannot_be_renewed_where_nothing_can_be_written(database: Database) -> None:
    sessions = SqlSessions(database, lease_seconds=60)
    await sessions.renew_lease("w1")

    await rename(database, "workers", "away")

    with pytest.raises(StorageError):
        await sessions.renew_lease("w1")
