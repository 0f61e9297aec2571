"""Creates the engines for SQLite, with their time-outs and pool sizes."""

import sqlite3
import time
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine import URL
from sqlalchemy.pool import PoolProxiedConnection

from backend.storage.sql.sqlite_file import SqliteFile

SQLITE_READERS = 2
SQLITE_BUSY_MS = 9_000
"""Slightly less than the time-out of a transaction, so that SQLite's own error arrives first."""


class Reader(SQLiteDialect_pysqlite):
    """Begins transactions itself, where the driver would wait for the first write.

    A listener to "begin" would do the same, and make a transaction a quarter dearer: SQLAlchemy
    then asks for listeners to all other events.
    """

    supports_statement_cache = True  # SQLAlchemy wants this to be repeated
    begin = "BEGIN"

    def do_begin(self, dbapi_connection: PoolProxiedConnection) -> None:
        dbapi_connection.dbapi_connection.execute(self.begin)  # type: ignore[union-attr]  # the driver's


class Writer(Reader):
    """Takes the write lock at once: SQLite does not wait for it in a transaction that has read."""

    supports_statement_cache = True
    begin = "BEGIN IMMEDIATE"


for _dialect in (Reader, Writer):
    registry.register(f"sqlite.lex_{_dialect.__name__.lower()}", __name__, _dialect.__name__)


def sqlite_writer(url: URL, file: SqliteFile) -> Engine:
    return _sqlite(url.set(drivername="sqlite+lex_writer"), file, connections=1)


def sqlite_readers(url: URL, file: SqliteFile) -> Engine:
    """Connections that see the last commit, never wait for the writer, and cannot write."""
    readers = url.set(drivername="sqlite+lex_reader")
    engine = _sqlite(readers, file, connections=SQLITE_READERS)
    event.listen(engine, "connect", _read_only)
    return engine


def _sqlite(url: URL, file: SqliteFile, *, connections: int) -> Engine:
    engine = create_engine(url, pool_size=connections, max_overflow=0, hide_parameters=True)

    def prepare(connection: Any, _record: object) -> None:
        _prepare_sqlite(connection)
        file.opened()

    event.listen(engine, "connect", prepare)
    return engine


def _prepare_sqlite(connection: Any) -> None:
    connection.isolation_level = None  # the driver must not send BEGIN: our dialects do
    connection.execute(f"PRAGMA busy_timeout = {SQLITE_BUSY_MS}")
    _write_ahead(connection)
    # With a write-ahead log, a killed process loses nothing. A power failure may lose the newest
    # commits, but never corrupts the file. FULL would wait for the disk at each commit.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")  # off by default, and deleting must cascade


def _write_ahead(connection: Any) -> None:
    """Switch to write-ahead logging.

    Retries, because SQLite ignores `busy_timeout` for this switch: if several processes open a new
    file at once, all but one get "database is locked".
    """
    deadline = time.monotonic() + SQLITE_BUSY_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)  # in a database thread, so the event loop goes on
        else:
            return


def _read_only(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA query_only = ON")
