"""The tables that Postgres partitions by UTC day.

Partitions are made ahead. An old day is dropped as a whole, which costs nothing, while deleting its
rows one by one would cost as much as writing them. A default partition takes the rows of a day that
has no partition. SQLite has plain tables, and so does a database whose upgrade is not finished.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta

import structlog
from sqlalchemy import Connection, Table, select, text
from sqlalchemy.exc import DBAPIError

from backend.storage.sql.dialects import DatabaseNow, UtcDateTime
from backend.storage.sql.tables import turn_logs, usage_days

logger = structlog.get_logger()

DAYS_AHEAD = 3
"""A service that is away for up to three days finds its partitions when it comes back."""

_PARTITIONED_BY = {turn_logs: "finished_at", usage_days: "day"}
_NOW = select(DatabaseNow())
_IS_PARTITIONED = text("SELECT 1 FROM pg_partitioned_table WHERE partrelid = to_regclass(:name)")
_PARTITIONS = text(
    "SELECT relname FROM pg_class JOIN pg_inherits ON inhrelid = oid "
    "WHERE inhparent = to_regclass(:name) ORDER BY relname"
)
# One worker at a time: two that make the same partition would fail or wait for each other.
_ONLY_ONE = text("SELECT pg_try_advisory_xact_lock(715518)")
# New and dropped partitions lock the whole table, and all that need it meanwhile queue behind. The
# next attempt is not far.
_SHORT_LOCKS = text("SET LOCAL lock_timeout = '1s'")


def make_ahead(connection: Connection) -> None:
    """Make the partitions of today and of the next `DAYS_AHEAD` days."""
    if not _may_change(connection):
        return
    today = connection.execute(_NOW).scalar_one().date()
    for table in _partitioned(connection):
        there = _partitions_of(connection, table)
        for ahead in range(DAYS_AHEAD + 1):
            day = today + timedelta(days=ahead)
            if _name(table, day) not in there:
                _make(connection, table, day)


def make_for(connection: Connection, table: Table, days: Iterable[date]) -> None:
    """Make the partitions of these days, of a table without rows on them."""
    if table in _partitioned(connection):
        there = _partitions_of(connection, table)
        for day in days:
            if _name(table, day) not in there:
                _make(connection, table, day)


def drop_before(connection: Connection, table: Table, day: date) -> None:
    """Drop the partitions of the days before this one."""
    if not _may_change(connection) or table not in _partitioned(connection):
        return
    for name in _partitions_of(connection, table):
        its_day = _day_of(table, name)
        if its_day is not None and its_day < day:
            _change(connection, f"DROP TABLE {name}")


def _may_change(connection: Connection) -> bool:
    if connection.dialect.name != "postgresql":
        return False
    connection.execute(_SHORT_LOCKS)
    return bool(connection.scalar(_ONLY_ONE))


def _partitioned(connection: Connection) -> Iterator[Table]:
    for table in _PARTITIONED_BY:
        if connection.scalar(_IS_PARTITIONED, {"name": table.name}):
            yield table


def _partitions_of(connection: Connection, table: Table) -> list[str]:
    return list(connection.scalars(_PARTITIONS, {"name": table.name}))


def _make(connection: Connection, table: Table, day: date) -> None:
    begin, end = (bound.isoformat() for bound in (day, day + timedelta(days=1)))
    if isinstance(table.c[_PARTITIONED_BY[table]].type, UtcDateTime):
        begin, end = f"{begin} 00:00:00+00", f"{end} 00:00:00+00"
    _change(
        connection,
        f"CREATE TABLE {_name(table, day)} PARTITION OF {table.name} "
        f"FOR VALUES FROM ('{begin}') TO ('{end}')",
    )


def _change(connection: Connection, statement: str) -> None:
    """Change the partitions, if the database permits. Otherwise rows go to the default one."""
    try:
        with connection.begin_nested():
            connection.exec_driver_sql(statement)
    except DBAPIError as error:
        # Without the right to create tables, behind a long transaction, or because the default
        # partition already has rows of this day: everything works without the partition.
        logger.warning("partition_not_changed", change=statement, cause=type(error.orig).__name__)


def _name(table: Table, day: date) -> str:
    return f"{table.name}_{day:%Y%m%d}"


def _day_of(table: Table, partition: str) -> date | None:
    digits = partition.removeprefix(f"{table.name}_")
    try:
        return datetime.strptime(digits, "%Y%m%d").replace(tzinfo=UTC).date()
    except ValueError:
        return None
