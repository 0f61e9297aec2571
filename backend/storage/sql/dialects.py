"""Where SQLite and Postgres differ: times, and the database's own clock."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, Dialect, Float
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

insert = postgresql.insert
"""An insert with ON CONFLICT. Both databases spell it alike, so this one renders for either."""


class UtcDateTime(TypeDecorator[datetime]):
    """Aware and in UTC on our side; SQLite keeps no zone, so it is UTC by agreement there."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None or value.tzinfo is UTC:
            return value
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


class DatabaseTime(FunctionElement[float]):
    """Seconds since 1970 by the database's clock, which all workers share. Not by ours:
    leases are compared across machines, whose clocks differ.
    """

    inherit_cache = True
    type = Float()


class DatabaseNow(FunctionElement[datetime]):
    """The same clock, as a time that is stored and shown: a worker's may be wrong by days."""

    inherit_cache = True
    type = UtcDateTime()


@compiles(DatabaseNow, "postgresql")
def _now_on_postgres(element: DatabaseNow, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ARG001 - SQLAlchemy's
    return "clock_timestamp()"


@compiles(DatabaseNow, "sqlite")
def _now_on_sqlite(element: DatabaseNow, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ARG001 - SQLAlchemy's
    # In the digits that SQLAlchemy stores, so that texts compare as times do.
    return "(strftime('%Y-%m-%d %H:%M:%f', 'now') || '000')"


@compiles(DatabaseTime, "postgresql")
def _on_postgres(element: DatabaseTime, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ARG001
    # now() stands still during a transaction, and a transaction may have waited for a lock.
    return "extract(epoch from clock_timestamp())::double precision"


@compiles(DatabaseTime, "sqlite")
def _on_sqlite(element: DatabaseTime, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ARG001
    # unixepoch() has whole seconds only, before SQLite 3.42.
    return "((julianday('now') - 2440587.5) * 86400.0)"
