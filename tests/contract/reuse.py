"""Migrated databases that tests use one after another.

Emptying a database takes a few milliseconds, and making one a quarter of a second of CPU.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from sqlalchemy import Connection, text

from backend.storage.sql.database import Database
from backend.storage.sql.seeding import insert_sample_data
from backend.storage.sql.tables import metadata
from tests.postgres import PostgresServer

_SCHEMA = text(
    "SELECT relname, attname, atttypid, attnotnull FROM pg_class "
    "JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 "
    "WHERE relnamespace = current_schema()::regnamespace ORDER BY 1, 2"
)
"""All columns of all tables and indexes."""


@dataclass
class ReusedDatabases:
    """Databases of one shape. A test that changes the schema of its database uses it up."""

    server: PostgresServer
    prepare: Callable[[str], None]
    stack: ExitStack
    _free: list["_Reused"] = field(default_factory=list)

    @contextmanager
    def database(self) -> Iterator[str]:
        reused = self._free.pop() if self._free else self._made()
        yield reused.url
        if reused.has_its_schema():
            reused.empty()
            self._free.append(reused)
        else:
            reused.database.dispose()

    def _made(self) -> "_Reused":
        url = self.stack.enter_context(self.server.database())
        self.prepare(url)
        database = Database(url, pool_size=1)
        self.stack.callback(database.dispose)
        return _Reused(url, database)


class _Reused:
    def __init__(self, url: str, database: Database) -> None:
        self.url = url
        self.database = database
        self._schema = database.transact(_schema_of)

    def has_its_schema(self) -> bool:
        return self.database.transact(_schema_of) == self._schema

    def empty(self) -> None:
        self.database.transact(_empty)


@contextmanager
def reused_databases(
    server: PostgresServer, prepare: Callable[[str], None]
) -> Iterator[ReusedDatabases]:
    with ExitStack() as stack:
        yield ReusedDatabases(server, prepare, stack)


def _schema_of(connection: Connection) -> list[tuple[object, ...]]:
    return [tuple(row) for row in connection.execute(_SCHEMA)]


def _empty(connection: Connection) -> None:
    for table in reversed(metadata.sorted_tables):
        connection.execute(table.delete())
    insert_sample_data(connection)
