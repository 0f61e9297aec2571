"""A SQLite file that is deleted or replaced while it is open, and its lock."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection

from backend.domain.conversation import Message
from backend.domain.errors import StorageError
from backend.storage.factory import open_stores
from backend.storage.ports.stores import Stores
from backend.storage.sql.database import Database
from tests.contract.conversations import EVERYTHING, OWNER, ending, new_turn, say
from tests.waiting import waiting


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncIterator[Stores]:
    opened = await open_stores(f"sqlite:///{tmp_path}/lex.db", lease_seconds=60, migrate=True)
    yield opened
    await opened.close()


def _delete(file: Path) -> None:
    file.unlink()


def _delete_all(file: Path) -> None:
    for each in file.parent.glob("lex.db*"):
        each.unlink()


def _move(file: Path) -> None:
    file.rename(file.with_name("elsewhere.db"))


def _replace(file: Path) -> None:
    other = file.with_name("other.db")
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE sessions (id)")
    other.rename(file)


def _replace_the_folder(file: Path) -> None:
    file.parent.rename(file.parent.with_name("old"))
    file.parent.mkdir()
    file.touch()


@pytest.mark.parametrize(
    ("take_away", "told"),
    [
        (_delete, "deleted or moved"),
        (_delete_all, "deleted or moved"),
        (_move, "deleted or moved"),
        (_replace, "replaced"),
        (_replace_the_folder, "replaced"),
    ],
)
async def test_what_would_be_lost_with_the_file_is_refused(
    tmp_path: Path, take_away: Callable[[Path], None], told: str
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    stores = await open_stores(f"sqlite:///{folder}/lex.db", lease_seconds=60, migrate=True)
    await stores.sessions.claim(turn := new_turn(), history_tokens=EVERYTHING)
    take_away(folder / "lex.db")

    with pytest.raises(StorageError) as written:
        await stores.sessions.finish(ending(turn, Message.assistant("Lost?")))
    with pytest.raises(StorageError):
        await stores.sessions.messages(OWNER, turn.session_id)
    with pytest.raises(StorageError) as pinged:
        await stores.ping()

    assert told in written.value.explanation
    assert told in pinged.value.explanation
    await stores.close()


async def test_a_file_that_is_put_back_serves_again(tmp_path: Path, stores: Stores) -> None:
    await say(stores.sessions, turn := new_turn(), "Kept.")
    _move(tmp_path / "lex.db")
    with pytest.raises(StorageError):
        await stores.ping()

    (tmp_path / "elsewhere.db").rename(tmp_path / "lex.db")

    assert len(await stores.sessions.messages(OWNER, turn.session_id)) == 2


async def test_a_file_that_is_taken_away_in_the_middle_of_a_transaction_keeps_nothing(
    tmp_path: Path,
) -> None:
    database = Database(f"sqlite:///{tmp_path}/lex.db")

    def take_away(connection: Connection) -> None:
        connection.exec_driver_sql("CREATE TABLE written (id)")
        (tmp_path / "lex.db").unlink()

    with pytest.raises(StorageError, match="cannot be stored"):
        await database.run(take_away)

    await database.close()


async def test_reading_goes_on_while_somebody_else_holds_the_lock(
    tmp_path: Path, stores: Stores
) -> None:
    """Let another process hold the lock while a writer of ours waits for it."""
    turn = new_turn()
    await say(stores.sessions, turn, "Hi.")
    with closing(sqlite3.connect(tmp_path / "lex.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        claiming = asyncio.create_task(stores.sessions.claim(new_turn(), history_tokens=EVERYTHING))

        async with asyncio.timeout(3):
            await stores.ping()
            await stores.sessions.get(OWNER, turn.session_id)
            await stores.sessions.turn(OWNER, turn.id)
            await stores.sessions.turn_with_log(OWNER, turn.id)
            await stores.sessions.turns(OWNER, turn.session_id)
            messages = await stores.sessions.messages(OWNER, turn.session_id)
            await stores.sessions.running([turn.key])
            await stores.profiles.profile("123")
            await stores.showrooms.showroom()
            await stores.appointments.of_user("123")
        was_waiting = not claiming.done()
        other.execute("ROLLBACK")
        async with waiting():
            await claiming

    assert len(messages) == 2
    assert was_waiting


async def test_reading_goes_on_while_our_own_writer_is_slow(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/lex.db")
    await database.run(lambda connection: connection.exec_driver_sql("CREATE TABLE t (id)"))
    is_writing, may_end = threading.Event(), threading.Event()

    def write_slowly(connection: Connection) -> None:
        connection.exec_driver_sql("INSERT INTO t VALUES (1)")
        is_writing.set()
        may_end.wait(30)

    def count(connection: Connection) -> int:
        return int(connection.exec_driver_sql("SELECT count(*) FROM t").scalar_one())

    writing = asyncio.create_task(database.run(write_slowly))
    await asyncio.to_thread(is_writing.wait)
    meanwhile = await database.read(count)
    may_end.set()
    await writing

    assert (meanwhile, await database.read(count)) == (0, 1)
    await database.close()


async def test_what_reads_cannot_write(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/lex.db")
    await database.run(lambda connection: connection.exec_driver_sql("CREATE TABLE t (id)"))

    with pytest.raises(StorageError):
        await database.read(
            lambda connection: connection.exec_driver_sql("INSERT INTO t VALUES(1)")
        )

    await database.close()
