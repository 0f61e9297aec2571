"""The stores under test. Every suite here runs over each of them."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from backend.storage.factory import open_stores
from backend.storage.ports.stores import Stores
from tests.contract.schemas import leave_unfinished
from tests.postgres import PostgresServer

SQL = ("sqlite", "postgres")
UNFINISHED = "postgres-unfinished"
"""An existing database that was migrated without `--finish`: its tables have no partitions."""

LONG_LEASE = 60.0
SHORT_LEASE = 0.5


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test with each store, and with an unfinished upgrade if its module says so.

    Those are the tests of what differs: keys of turns, logs and the ledger.
    """
    is_of_both = getattr(metafunc.module, "BEFORE_AND_AFTER_FINISHING", False)
    more = (UNFINISHED,) if is_of_both else ()
    for name, stores in (("database_url", ("memory", *SQL)), ("sql_url", SQL)):
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, (*stores, *more), indirect=True)


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    yield from _database_url(request, tmp_path)


@pytest.fixture
def sql_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    yield from _database_url(request, tmp_path)


def _database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database. Postgres starts when the first test needs it."""
    match request.param:
        case "memory":
            yield "memory://"
        case "sqlite":
            yield f"sqlite:///{tmp_path}/lex.db"
        case "postgres":
            server: PostgresServer = request.getfixturevalue("postgres")
            with server.database() as url:
                yield url
        case "postgres-unfinished":
            server = request.getfixturevalue("postgres")
            with server.database() as url:
                leave_unfinished(url)
                yield url


@pytest.fixture
async def stores(database_url: str) -> AsyncIterator[Stores]:
    opened = await open_stores(database_url, lease_seconds=LONG_LEASE, migrate=True)
    yield opened
    await opened.close()


@pytest.fixture
async def short_leases(database_url: str) -> AsyncIterator[Stores]:
    """Stores whose leases expire after SHORT_LEASE seconds of real time."""
    opened = await open_stores(database_url, lease_seconds=SHORT_LEASE, migrate=True)
    yield opened
    await opened.close()
