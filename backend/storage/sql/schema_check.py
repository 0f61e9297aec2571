"""Checks whether this version can work with a database that a later version has migrated.

During a rolling update both versions use the new schema, and so does an old version after a
rollback. So a revision only adds, and drops only what the release before it no longer uses.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import structlog
from sqlalchemy import Connection, Inspector, Table, inspect

from backend.domain.errors import StorageError
from backend.storage.sql.tables import metadata

logger = structlog.get_logger()


def is_newer(revisions: Sequence[str], head: str) -> bool:
    """Whether the database has a revision after `head`. Ours are numbers; others are ignored."""
    return any(name.isdecimal() and int(name) > int(head) for name in revisions)


def require_compatible(connection: Connection, revisions: Sequence[str]) -> None:
    """Log a warning that the schema is newer.

    Raises:
        StorageError: a table or column is missing, or a new column must be written.
    """
    if problems := sorted(_problems(inspect(connection))):
        raise StorageError(
            f"The database was migrated by a later version, and this version cannot use it: "
            f"{', '.join(problems)}."
        )
    logger.warning("database_is_newer", revision=revisions[0])


def _problems(database: Inspector) -> Iterator[str]:
    there = set(database.get_table_names())
    for table in metadata.sorted_tables:
        if table.name not in there:
            yield f"{table.name} is gone"
        else:
            yield from _problems_of(table, database)


def _problems_of(table: Table, database: Inspector) -> Iterator[str]:
    columns: dict[str, Any] = {each["name"]: each for each in database.get_columns(table.name)}
    for name in table.columns.keys() - columns.keys():
        yield f"{table.name}.{name} is gone"
    for name in columns.keys() - table.columns.keys():
        if not columns[name]["nullable"] and columns[name]["default"] is None:
            yield f"{table.name}.{name} must be written"
