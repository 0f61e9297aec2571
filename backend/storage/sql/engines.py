"""Engines: how connections to SQLite and Postgres are made, and what bounds them."""

import sqlite3
import time
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL

from backend.storage.sql.sqlite_file import SqliteFile

POSTGRES_THREADS = 8
SQLITE_READERS = 2
SQLITE_BUSY_MS = 9_000
"""A little less than a transaction may take: then it is told why it failed."""

# So one session's transactions cannot make all others wait for long.
POSTGRES_LIMITS = (
    "SET lock_timeout = '5s'; SET statement_timeout = '8s'; "
    "SET idle_in_transaction_session_timeout = '30s'"
)
POSTGRES_OPTIONS = {
    "application_name": "lex",
    "connect_timeout": "5",
    # A host that vanished is noticed after 10 s without a word, and 10 s of asking.
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "2",
    "tcp_user_timeout": "10000",
}


def postgres_engine(url: URL) -> Engine:
    engine = create_engine(
        url.set(query={**POSTGRES_OPTIONS, **url.query}),
        pool_size=POSTGRES_THREADS,
        max_overflow=0,
        pool_pre_ping=True,  # one round trip, or the first after a restart would fail
        hide_parameters=True,  # errors are logged; what people said is not
    )
    event.listen(engine, "connect", _limit_postgres)
    return engine


def _limit_postgres(connection: Any, _record: object) -> None:
    connection.execute(POSTGRES_LIMITS)
    connection.commit()


def sqlite_writer(url: URL, file: SqliteFile) -> Engine:
    engine = _sqlite(url, file, connections=1)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def sqlite_readers(url: URL, file: SqliteFile) -> Engine:
    """They see the last commit, wait for no writer, and cannot write."""
    engine = _sqlite(url, file, connections=SQLITE_READERS)
    event.listen(engine, "connect", _read_only)
    event.listen(engine, "begin", _begin)
    return engine


def _sqlite(url: URL, file: SqliteFile, *, connections: int) -> Engine:
    engine = create_engine(url, pool_size=connections, max_overflow=0, hide_parameters=True)

    def prepare(connection: Any, _record: object) -> None:
        _prepare_sqlite(connection)
        file.opened()

    event.listen(engine, "connect", prepare)
    return engine


def _prepare_sqlite(connection: Any) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself; we do, below
    connection.execute(f"PRAGMA busy_timeout = {SQLITE_BUSY_MS}")
    _write_ahead(connection)
    # With a write-ahead log a process that is killed loses nothing; a loss of power may cost the
    # newest commits, but never the file. FULL would wait for the disk at each commit.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")


def _write_ahead(connection: Any) -> None:
    """When several processes open a new file at once, SQLite tells all but one that it is locked:
    for this change of mode it does not wait for `busy_timeout`.
    """
    deadline = time.monotonic() + SQLITE_BUSY_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)  # in the database's own thread
        else:
            return


def _read_only(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA query_only = ON")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _begin_immediate(connection: Connection) -> None:
    # A transaction that reads first and writes later cannot wait for the lock in between.
    connection.exec_driver_sql("BEGIN IMMEDIATE")
