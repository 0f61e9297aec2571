"""The stores under test. Every suite here runs over each of them."""

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from backend.storage.factory import open_stores
from backend.storage.ports.stores import Stores
from backend.storage.sql.migrate import migrate
from tests.contract.reuse import ReusedDatabases, reused_databases
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
    if "database_url" in metafunc.fixturenames:
        metafunc.parametrize("database_url", ("memory", *SQL, *more), indirect=True)
    if "sql_url" in metafunc.fixturenames:
        metafunc.parametrize("sql_url", SQL, indirect=True)


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a migrated database that has only the sample data."""
    match request.param:
        case "memory":
            yield "memory://"
        case "sqlite":
            shutil.copyfile(request.getfixturevalue("migrated_file"), tmp_path / "lex.db")
            yield f"sqlite:///{tmp_path}/lex.db"
        case "postgres":
            with request.getfixturevalue("migrated_databases").database() as url:
                yield url
        case "postgres-unfinished":
            with request.getfixturevalue("unfinished_databases").database() as url:
                yield url


@pytest.fixture
def sql_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database."""
    match request.param:
        case "sqlite":
            yield f"sqlite:///{tmp_path}/lex.db"
        case "postgres":
            server: PostgresServer = request.getfixturevalue("postgres")
            with server.database() as url:
                yield url


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("migrated") / "lex.db"
    migrate(f"sqlite:///{file}")
    return file


@pytest.fixture(scope="session")
def migrated_databases(postgres: PostgresServer) -> Iterator[ReusedDatabases]:
    with reused_databases(postgres, migrate) as databases:
        yield databases


@pytest.fixture(scope="session")
def unfinished_databases(postgres: PostgresServer) -> Iterator[ReusedDatabases]:
    with reused_databases(postgres, leave_unfinished) as databases:
        yield databases


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
