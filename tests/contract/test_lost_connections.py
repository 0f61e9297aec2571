"""Transactions while the database is busy, restarts or goes away, on a real Postgres."""

import asyncio
import secrets
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import TimeoutError as PoolTimeout

from backend.domain.errors import StorageError, StoreAway
from backend.storage.sql.database import Database
from backend.storage.sql.migrate import upgrade
from backend.storage.sql.tables import workers
from tests.postgres import PostgresServer
from tests.postgres_gate import PostgresGate, postgres_gate
from tests.waiting import LIMIT_SECONDS, at_once, waiting


@pytest.fixture
async def gate(postgres: PostgresServer) -> AsyncIterator[PostgresGate]:
    with postgres.database() as url:
        async with postgres_gate(url) as gate:
            yield gate


def _one(connection: Connection) -> int:
    return int(connection.scalar(text("SELECT 1")) or 0)


@contextmanager
def crowded(postgres: PostgresServer, *, connections: int) -> Iterator[str]:
    """The URL of a new user with a limited number of connections.

    Other tests share the server and its other users.
    """
    user = f"crowded_{secrets.token_hex(4)}"
    with postgres.database() as url, psycopg.connect(_plain(url), autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {user} LOGIN CONNECTION LIMIT {connections}")
        try:
            yield make_url(url).set(username=user).render_as_string()
        finally:
            admin.execute(f"DROP ROLE {user}")


async def test_a_transaction_that_meets_too_many_clients_is_tried_again(
    postgres: PostgresServer,
) -> None:
    with crowded(postgres, connections=1) as url:
        taken = psycopg.connect(_plain(url))
        database = Database(url)
        waiting_for = asyncio.create_task(database.run(_one))

        # Long enough to fail, if it were not tried again.
        done, _ = await asyncio.wait([waiting_for], timeout=1)
        taken.close()
        async with waiting():
            answer = await waiting_for

        await database.close()
    assert (answer, done) == (1, set())


async def test_a_transaction_that_is_refused_for_all_its_time_says_why(
    postgres: PostgresServer,
) -> None:
    with crowded(postgres, connections=0) as url:
        database = Database(url, timeout_seconds=2)

        begun = time.monotonic()
        with pytest.raises(StoreAway) as raised:
            await database.run(_one)

        assert time.monotonic() - begun > 1
        await database.close()
    assert "too many clients" in raised.value.explanation


async def test_a_transaction_whose_last_attempt_hangs_says_what_failed_before(
    tmp_path: Path,
) -> None:
    database = Database(f"sqlite:///{tmp_path}/lex.db", timeout_seconds=1)
    hangs, ended = threading.Event(), threading.Event()

    def busy_and_then_silent(_: Connection) -> None:
        if not hangs.is_set():
            hangs.set()
            raise PoolTimeout
        ended.wait(LIMIT_SECONDS)

    with pytest.raises(StoreAway) as raised:
        await database.run(busy_and_then_silent)
    silent = Database(f"sqlite:///{tmp_path}/other.db", timeout_seconds=0.1)
    with pytest.raises(StoreAway) as nothing_known:
        await silent.run(lambda _: ended.wait(LIMIT_SECONDS))

    ended.set()
    await database.close()
    await silent.close()
    assert raised.value.explanation.startswith("The database is not available: ")
    assert nothing_known.value.explanation == "The database does not answer."


async def test_a_server_that_restarts_fails_no_transaction(gate: PostgresGate) -> None:
    database = Database(gate.url)
    await database.run(_one)
    await gate.shut()
    running = [asyncio.create_task(database.run(_one)) for _ in range(20)]
    # The length of the restart: all transactions meet the closed gate meanwhile.
    await asyncio.sleep(0.5)

    await gate.open()

    assert await asyncio.gather(*running) == [1] * 20
    await database.close()


async def test_a_connection_that_breaks_before_the_commit_costs_nothing(
    gate: PostgresGate,
) -> None:
    database = Database(gate.url)
    await database.run(upgrade)
    attempts = []

    def terminated_once(connection: Connection) -> int:
        connection.execute(workers.insert(), {"id": "w1", "seen_at": 0.0})
        attempts.append(1)
        if len(attempts) == 1:
            connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        return len(attempts)

    assert await database.run(terminated_once) == 2

    await database.close()


async def test_a_commit_that_nobody_answered_is_not_done_again(gate: PostgresGate) -> None:
    database = Database(gate.url)
    await database.run(upgrade)
    attempts = []
    has_written, may_commit = threading.Event(), threading.Event()

    def cut_at_its_end(connection: Connection) -> None:
        connection.execute(workers.insert(), {"id": "w1", "seen_at": 0.0})
        attempts.append(1)
        has_written.set()
        may_commit.wait(10)

    running = asyncio.create_task(database.run(cut_at_its_end))
    await asyncio.to_thread(has_written.wait)
    await gate.shut()
    may_commit.set()

    with pytest.raises(StoreAway):
        await running
    assert len(attempts) == 1
    await database.close()


async def test_a_server_that_is_away_is_told_of_at_once_after_the_first_time(
    gate: PostgresGate,
) -> None:
    database = Database(gate.url)
    await gate.shut()
    with pytest.raises(StoreAway):
        await database.run(_one)

    with pytest.raises(StoreAway) as raised:
        await at_once(database.run(_one), seconds=1)

    assert raised.value.explanation == "The database is not available: connection refused."
    await gate.open()
    assert await database.run(_one) == 1
    await database.close()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"username": "nobody"}, "The server refuses this user or password."),
        ({"database": "nowhere"}, "The server has no such database."),
        (
            {"query": {"options": "-c no_such_parameter=1"}},
            "The server refuses the value of options= in the URL.",
        ),
        (
            {"query": {"sslmode": "require"}},
            "The server has no TLS, but sslmode= in the URL requires it.",
        ),
        (
            {"query": {"sslmode": "no-verify"}},
            "A parameter in the URL has an invalid value.",
        ),
    ],
)
async def test_what_would_be_refused_again_is_not_tried_again_and_told_without_names(
    gate: PostgresGate, change: dict[str, object], told: str
) -> None:
    url = make_url(gate.url)
    for name, value in change.items():
        url = url.set(**{name: value})  # type: ignore[arg-type]  # the names are those of `set`
    database = Database(url.render_as_string(hide_password=False))

    with pytest.raises(StorageError) as raised:
        await database.run(_one)

    assert not isinstance(raised.value, StoreAway)
    assert raised.value.explanation == told
    await database.close()


def _plain(url: str) -> str:
    return url.replace("postgresql+psycopg", "postgresql")
