"""A database that a later version has migrated, and whether this version can work with it.

It must: while pods are replaced both versions serve, and a release that is rolled back finds the
later schema. So a revision only adds; what it makes superfluous goes with a later release.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import structlog
from sqlalchemy import Connection, Inspector, Table, inspect

from backend.domain.errors import StorageError
from backend.storage.sql.tables import metadata

logger = structlog.get_logger()


def is_newer(revisions: Sequence[str], head: str) -> bool:
    """Revisions are numbers; any other name is none of ours."""
    return any(name.isdecimal() and int(name) > int(head) for name in revisions)


def require_compatible(connection: Connection, revisions: Sequence[str]) -> None:
    """Raises: StorageError, when this version would miss something, or break it."""
    if problems := sorted(_problems(inspect(connection))):
        raise StorageError(
            f"The database was migrated by a later version, which this one cannot work with: "
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
