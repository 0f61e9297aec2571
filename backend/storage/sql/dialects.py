"""The differences between SQLite and Postgres: stored times, and the database's clock."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, Dialect, Float
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

insert = postgresql.insert
"""An insert with ON CONFLICT. Both databases use the same syntax, so this works for either."""


class UtcDateTime(TypeDecorator[datetime]):
    """A datetime that is always aware and in UTC. SQLite stores it without a zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None or value.tzinfo is UTC:
            return value
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


class DatabaseTime(FunctionElement[float]):
    """The database's clock when the statement began, in seconds since 1970.

    Leases use it because workers on different machines compare them, and the clocks of machines
    differ.
    """

    inherit_cache = True
    type = Float()


class DatabaseNow(FunctionElement[datetime]):
    """The database's clock as a datetime, for times that are stored and shown.

    Only for queries and for values of an INSERT, see `DatabaseTime`.
    """

    inherit_cache = True
    type = UtcDateTime()


@compiles(DatabaseNow, "postgresql")
def _now_on_postgres(element: DatabaseNow, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ARG001 - SQLAlchemy's
    return "clock_timestamp()"


@compiles(DatabaseNow, "sqlite")
def _now_on_sqlite(element: DatabaseNow, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ARG001 - SQLAlchemy's
    # Six decimals, as SQLAlchemy stores a datetime, so that comparing texts compares times.
    return "(strftime('%Y-%m-%d %H:%M:%f', 'now') || '000')"


@compiles(DatabaseTime, "postgresql")
def _on_postgres(element: DatabaseTime, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ARG001
    # Not now(): it stands still during a transaction, which may have waited for a lock. Not
    # clock_timestamp(): it is volatile, and Citus refuses volatile functions in an UPDATE.
    return "extract(epoch from statement_timestamp())::double precision"


@compiles(DatabaseTime, "sqlite")
def _on_sqlite(element: DatabaseTime, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ARG001
    # Not unixepoch(): before SQLite 3.42 it only has whole seconds.
    return "((julianday('now') - 2440587.5) * 86400.0)"
