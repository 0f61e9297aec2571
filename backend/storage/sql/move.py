"""Moves all data of a SQLite file to an empty Postgres: `python -m backend.storage.sql.move FILE`.

The target is `MIGRATE_DATABASE_URL` or else `DATABASE_URL`, as for `migrate`. Everything moves in
one transaction, or nothing. The file stays as it is.
"""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, func, select

from backend.domain.errors import NotStorable, StorageError
from backend.storage.sql import leases, partitions
from backend.storage.sql.database import Database
from backend.storage.sql.migrate import APART, require_same_version, upgrade
from backend.storage.sql.seeding import sample_data
from backend.storage.sql.tables import (
    clock_doubts,
    clock_marks,
    metadata,
    turn_logs,
    usage_days,
    workers,
)
from backend.telemetry.redaction import redacted, secrets_in_url

_LEFT_BEHIND = (workers, clock_doubts, clock_marks)
"""Tables about the processes and the clock of the machine with the file."""

MOVED = [table for table in metadata.sorted_tables if table not in _LEFT_BEHIND]
"""In an order that foreign keys allow."""

QUIET_SECONDS = 60.0
"""A worker renews its lease more often, so after this time without a renewal, none is running."""

AT_ONCE = 200
"""Rows in memory. A row may have an event log of some hundred kilobytes."""

_DAYS = {turn_logs: turn_logs.c.finished_at, usage_days: usage_days.c.day}


def move(file: Path, database_url: str) -> dict[str, int]:
    """Return the number of moved rows of each table.

    Raises:
        StorageError: a worker still uses the file, its schema is not that of this version, or the
            target is no empty Postgres.
    """
    if not file.is_file():
        raise StorageError(f"{file} is not a file.")
    source = Database(f"sqlite:///{file.absolute()}")
    try:
        target = Database(database_url, pool_size=1, prepared="off")
        try:
            # On SQLite, this transaction also keeps everybody else from writing.
            return source.transact(_with_source, target)
        finally:
            target.dispose()
    finally:
        source.dispose()


def _with_source(source: Connection, target: Database) -> dict[str, int]:
    require_same_version(source)
    if leases.living(source, QUIET_SECONDS):
        raise StorageError(
            f"A worker used the file within the last {QUIET_SECONDS:g} s: stop Lex, and wait."
        )
    return target.transact(_copy_all, source)


def _copy_all(target: Connection, source: Connection) -> dict[str, int]:
    if target.dialect.name != "postgresql":
        raise StorageError("The target must be Postgres.")
    upgrade(target)
    _require_empty(target)
    for table, day in _DAYS.items():
        partitions.make_for(target, table, _days(source.scalars(select(day).distinct())))
    for table in MOVED:
        for rows in _chunks(source, table):
            target.execute(table.insert(), rows)
    moved = {table.name: _count(source, table) for table in MOVED}
    there = {table.name: _count(target, table) for table in MOVED}
    if moved != there:
        raise StorageError(f"The target has {there}, and the file {moved}: nothing was moved.")
    return moved


def _require_empty(target: Connection) -> None:
    """Delete the sample data of a new database; refuse everything else."""
    sample = sample_data()
    for table in MOVED:
        if table in sample and _rows(target, table) == sorted(map(repr, sample[table])):
            target.execute(table.delete())
        elif count := _count(target, table):
            raise StorageError(f"The target is not empty: {table.name} has {count} rows.")


def _rows(connection: Connection, table: Table) -> list[str]:
    return sorted(repr(dict(row)) for row in connection.execute(select(table)).mappings())


def _count(connection: Connection, table: Table) -> int:
    return connection.scalar(select(func.count()).select_from(table)) or 0


def _chunks(source: Connection, table: Table) -> Iterator[list[dict[str, Any]]]:
    options = {"yield_per": AT_ONCE}
    for rows in source.execute(select(table), execution_options=options).mappings().partitions():
        yield [dict(row) for row in rows]


def _days(values: Iterator[date]) -> set[date]:
    return {value.date() if isinstance(value, datetime) else value for value in values}


def main(environment: Mapping[str, str], arguments: Sequence[str]) -> int:
    """Return the exit code. An error is one line on stderr, without secrets."""
    setting = APART if environment.get(APART) else "DATABASE_URL"
    database_url = environment.get(setting)
    if len(arguments) != 1 or not database_url:
        sys.stderr.write(
            "usage: python -m backend.storage.sql.move FILE, with DATABASE_URL of the target\n"
        )
        return 2
    try:
        moved = move(Path(arguments[0].removeprefix("sqlite:///")), database_url)
    except NotStorable:
        sys.stderr.write("The file has text that Postgres cannot hold. Nothing was moved.\n")
        return 1
    except StorageError as error:
        sys.stderr.write(f"{redacted(error.explanation, secrets_in_url(database_url))}\n")
        return 1
    sys.stdout.write("".join(f"{count:9} {name}\n" for name, count in moved.items()))
    sys.stdout.write(f"Moved {sum(moved.values())} rows.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ, sys.argv[1:]))
