"""Lex through a real PgBouncer in transaction mode, with fewer connections than threads."""

import asyncio
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
import pytest
import structlog
from sqlalchemy import Connection, text

from backend.domain.errors import StorageError, StoreAway
from backend.storage.factory import open_stores
from backend.storage.sql.database import Database
from backend.storage.sql.migrate import main as migrate
from backend.storage.sql.postgres_engine import PREPARE_AFTER
from infrastructure.groq_standin import Standin
from loadtests.chaos.pgbouncer import CONNECTIONS, PgBouncer, pgbouncer
from tests.postgres import PostgresServer
from tests.processes import lex_process
from tests.serving import ids_of, outcome_of, parse, without_ids
from tests.waiting import waiting

TURNS = int(os.environ.get("POOLER_TURNS", "120"))
AT_ONCE = 20

STATE = """
    SELECT name, setting FROM pg_settings WHERE name LIKE '%timeout' OR name = 'application_name'
    UNION ALL SELECT 'prepared', statement FROM pg_prepared_statements
    ORDER BY 1, 2
"""
"""Everything that a client could leave on a connection of the server."""


@dataclass(frozen=True)
class Way:
    """A database, with the folder of its socket for direct connections."""

    pooler: PgBouncer
    socket: Path
    database: str
    folder: Path

    @property
    def url(self) -> str:
        return self.pooler.url(self.database)

    @property
    def direct(self) -> str:
        return f"postgresql://postgres@/{self.database}?host={self.socket}"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that PgBouncer's user can read; pytest's own ones are private."""
    with tempfile.TemporaryDirectory(prefix="lex-pgbouncer-") as made:
        folder = Path(made)
        folder.chmod(0o755)
        yield folder


@pytest.fixture
async def way(postgres: PostgresServer, folder: Path) -> AsyncIterator[Way]:
    with postgres.through_a_pooler() as (socket, database):
        async with pgbouncer(folder, socket=socket) as pooler:
            yield Way(pooler, socket, database, folder)


@dataclass(frozen=True)
class Customers:
    """They ask over two workers. Some read on at the other worker, and some stop their turns."""

    workers: tuple[httpx.AsyncClient, httpx.AsyncClient]

    async def turn(self, number: int) -> str:
        """The outcome of a turn, or what went wrong."""
        here, there = self.workers[number % 2], self.workers[(number + 1) % 2]
        body = {"query": "Weather?", "session_id": f"s{number}", "resume": True}
        async with here.stream("POST", "/query", json=body) as stream:
            if stream.status_code != 200:
                return f"{stream.status_code} {(await stream.aread()).decode()}"
            turn_id, texts = stream.headers["x-turn-id"], stream.aiter_text()
            received = ""
            while "event: chunk" not in received:
                received += await anext(texts)
            if number % 5 == 1:
                await here.delete(f"/turns/{turn_id}")
            if number % 5:
                received += "".join([piece async for piece in texts])
        if number % 5 == 0:
            received = received[: received.rfind("\n\n") + 2]
            headers = {"Last-Event-ID": ids_of(received)[-1]}
            rest = await there.get(f"/turns/{turn_id}/events", headers=headers)
            received += rest.text.partition("\n\n")[2]
        events = parse(without_ids(received))
        errors = [data for name, data in events if name == "error"]
        return "; ".join([*errors, outcome_of(events)["outcome"]])


async def test_turns_do_not_fail_and_leave_nothing_to_strangers(way: Way) -> None:
    async with Standin.serve() as standin, AsyncExitStack() as stack:
        standin.script(
            {"calls": [{"name": "get_weather", "arguments": {"city": "Paris"}}]},
            {"tokens": 60, "tokens_per_second": 200},
            times=None,
        )
        variables = {
            "GROQ_BASE_URL": standin.url,
            "DATABASE_URL": way.url,
            "LEASE_SECONDS": "3",
            "SUMMARY_IDLE_SECONDS": "0.5",
        }
        workers = [await stack.enter_async_context(lex_process(**variables)) for _ in range(2)]
        customers, room = Customers((workers[0], workers[1])), asyncio.Semaphore(AT_ONCE)

        async def ask(number: int) -> str:
            async with room:
                if number == TURNS // 2:
                    await way.pooler.stop()
                    await way.pooler.start()
                return await customers.turn(number)

        outcomes = Counter(await asyncio.gather(*map(ask, range(TURNS))))
        seen = await asyncio.gather(*(looked_at(way.url) for _ in range(CONNECTIONS)))

    # A stop may come after the end, on a busy machine.
    assert set(outcomes) == {"completed", "cancelled"}
    assert outcomes["completed"] >= TURNS - TURNS // 5
    assert len({pid for pid, _ in seen}) == CONNECTIONS
    _, unchanged = await looked_at(way.direct)
    assert [rest for _, rest in seen] == [unchanged] * CONNECTIONS


async def looked_at(url: str) -> tuple[int, list[tuple[str, str]]]:
    """The number of a connection of the server, and what a stranger sees there."""
    async with await psycopg.AsyncConnection.connect(url, prepare_threshold=None) as stranger:
        cursor = await stranger.execute(STATE)
        rows = await cursor.fetchall()
        # Hold the connection, so that each stranger gets another one.
        cursor = await stranger.execute("SELECT pg_backend_pid(), pg_sleep(0.5)")
        ((pid, _),) = await cursor.fetchall()
    return pid, rows


def _one(connection: Connection) -> int:
    return int(connection.scalar(text("SELECT 1")) or 0)


async def test_a_pooler_is_noticed_unless_the_url_tells_of_it(way: Way) -> None:
    with structlog.testing.capture_logs() as logs:
        told = Database(f"{way.url}?pgbouncer=true", prepared="auto")
        assert await told.run(_one) == 1
        await told.close()
        assert logs == []
        noticed = Database(way.url)
        for _ in range(2 * PREPARE_AFTER):
            assert await noticed.run(_one) == 1
        await noticed.close()

    assert [each["event"] for each in logs] == ["pooler_found"]


async def test_workers_migrate_through_a_pooler_once(way: Way) -> None:
    codes = await asyncio.gather(
        *(asyncio.to_thread(migrate, {"DATABASE_URL": way.url}) for _ in range(3))
    )

    assert codes == [0, 0, 0]
    stores = await open_stores(way.url, lease_seconds=15, migrate=False)
    assert len((await stores.showrooms.showroom()).dealerships) == 7
    await stores.close()


async def test_a_pooler_without_transactions_is_refused_and_a_migration_may_avoid_it(
    way: Way, capsys: pytest.CaptureFixture[str]
) -> None:
    async with pgbouncer(way.folder, socket=way.socket, pool_mode="statement") as pooler:
        url = pooler.url(way.database)
        refused = migrate({"DATABASE_URL": url})
        told = capsys.readouterr().err
        around = migrate({"DATABASE_URL": url, "MIGRATE_DATABASE_URL": way.direct})
        with pytest.raises(StorageError) as raised:
            await open_stores(url, lease_seconds=15, migrate=True, migrate_url=way.direct)

    assert (refused, around) == (1, 0)
    assert told.startswith("DATABASE_URL: The pooler refuses transactions: set pool_mode")
    assert "MIGRATE_DATABASE_URL" in told
    assert not isinstance(raised.value, StoreAway)
    assert raised.value.setting == "DATABASE_URL"


async def test_a_full_pooler_is_waited_for(way: Way) -> None:
    async with pgbouncer(way.folder, socket=way.socket, max_client_conn="1") as pooler:
        url = pooler.url(way.database)
        hasty, database = Database(url, timeout_seconds=0.5), Database(url)
        async with await psycopg.AsyncConnection.connect(url):
            with pytest.raises(StoreAway) as raised:
                await hasty.run(_one)
            waiting_for = asyncio.create_task(database.run(_one))
            await asyncio.wait([waiting_for], timeout=0.5)  # to fail, if it did not wait
        async with waiting():
            answer = await waiting_for
        await hasty.close()
        await database.close()

    assert raised.value.explanation == "The database is not available: it has too many clients."
    assert answer == 1


async def test_a_transaction_that_a_pooler_begins_too_late_does_nothing(way: Way) -> None:
    calls: list[str] = []
    async with pgbouncer(way.folder, socket=way.socket, default_pool_size="1") as pooler:
        hasty = Database(pooler.url(way.database), timeout_seconds=0.5)
        async with await psycopg.AsyncConnection.connect(pooler.url(way.database)) as stranger:
            await stranger.execute("SELECT 1")  # holds the only connection
            with pytest.raises(StoreAway):
                await hasty.run(lambda _: calls.append("too late"))
        await hasty.close()  # waits for the thread

    assert calls == []


async def test_a_pooler_whose_server_is_away_says_so(way: Way) -> None:
    gone = way.folder / "gone"
    gone.mkdir()
    shutil.chown(gone, way.socket.owner())  # PgBouncer runs as this user
    async with pgbouncer(way.folder, socket=gone, query_wait_timeout="1") as pooler:
        database = Database(pooler.url(way.database), timeout_seconds=2)
        with pytest.raises(StoreAway) as raised:
            await database.run(_one)
        await database.close()

    reason = raised.value.explanation.removeprefix("The database is not available: the pooler ")
    assert reason in ("does not reach it.", "has no free connection.")
