"""The ledger in SQL: the calls of each turn, and their sums by owner, UTC day, model and purpose.

The sums are written last in a transaction, in the order of their keys, so that two transactions
never wait for each other in a circle.
"""

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Connection, Select, bindparam, cast, delete, func, select

from backend.domain.usage import ModelCall, Spent
from backend.storage.ports.usage import DayUsage, OwnerUsage
from backend.storage.sql import partitions
from backend.storage.sql.dialects import DatabaseNow, insert
from backend.storage.sql.ledger_rows import columns_of, spent_in
from backend.storage.sql.operations import SqlStore, reading, writing
from backend.storage.sql.rows import AnyRow
from backend.storage.sql.tables import usage_days
from backend.storage.sql.writes import Write

_KEY = list(usage_days.primary_key.columns)
_NEW = insert(usage_days)
_ADD = Write(
    _NEW.on_conflict_do_update(
        index_elements=_KEY,
        set_={
            column.name: column + _NEW.excluded[column.name]
            for column in usage_days.columns
            if not column.primary_key
        },
    )
)
_THESE_DAYS = usage_days.c.day.between(bindparam("first"), bindparam("last"))
# Postgres adds up BIGINT to NUMERIC, which would come back as Decimal.
_SUMS = [
    cast(func.sum(column), BigInteger).label(column.name)
    for column in usage_days.columns
    if not column.primary_key
]
_DAY_KEY = (usage_days.c.day, usage_days.c.model, usage_days.c.purpose)
_BY_DAY = select(*_DAY_KEY, *_SUMS).where(_THESE_DAYS).group_by(*_DAY_KEY).order_by(*_DAY_KEY)
_TOKENS = func.sum(usage_days.c.input_tokens + usage_days.c.output_tokens)
_BY_OWNER = (
    select(usage_days.c.owner, *_SUMS)
    .where(_THESE_DAYS)
    .group_by(usage_days.c.owner)
    .order_by(_TOKENS.desc(), usage_days.c.owner)
    .limit(bindparam("most"))
)


_NOW = select(DatabaseNow())
_DELETE = delete(usage_days).where(usage_days.c.day < bindparam("before"))


def enter(connection: Connection, owner: str, calls: Iterable[ModelCall], at: datetime) -> None:
    """Add the calls to the sums of the owner and of the UTC day of `at`."""
    sums: dict[tuple[str, str], Spent] = {}
    for call in calls:
        key = call.model, call.purpose
        sums[key] = sums.get(key, Spent()) + Spent.of(call)
    for (model, purpose), spent in sorted(sums.items(), key=lambda each: each[0]):
        key_of_row = {"owner": owner, "day": at.date(), "model": model, "purpose": purpose}
        _ADD.run(connection, {**key_of_row, **columns_of(spent)})


def _enter_now(connection: Connection, owner: str, calls: Sequence[ModelCall]) -> None:
    enter(connection, owner, calls, connection.execute(_NOW).scalar_one())


def _by_day(
    connection: Connection, first: date, last: date, *, owner: str | None
) -> list[DayUsage]:
    these = {"first": first, "last": last, "owner": owner}
    return [
        DayUsage(day=row.day, model=row.model, purpose=row.purpose, spent=_spent_in(row))
        for row in connection.execute(_of(owner, _BY_DAY), these)
    ]


def _by_owner(
    connection: Connection, first: date, last: date, *, owner: str | None, limit: int
) -> list[OwnerUsage]:
    these = {"first": first, "last": last, "owner": owner, "most": limit}
    return [
        OwnerUsage(owner=row.owner, spent=_spent_in(row))
        for row in connection.execute(_of(owner, _BY_OWNER), these)
    ]


def _of(owner: str | None, sums: Select[Any]) -> Select[Any]:
    """The sums of one owner, or of everybody without one."""
    return sums if owner is None else sums.where(usage_days.c.owner == bindparam("owner"))


def _spent_in(row: AnyRow) -> Spent:
    return spent_in(row._mapping)  # noqa: SLF001 - SQLAlchemy's documented view of a row as a dict


def _purge_usage(connection: Connection, kept_days: float) -> None:
    try:
        last = connection.execute(_NOW).scalar_one() - timedelta(days=kept_days)
    except OverflowError:  # before the year 1
        return
    partitions.drop_before(connection, usage_days, last.date())
    connection.execute(_DELETE, {"before": last.date()})


class SqlUsage(SqlStore):
    enter = writing(_enter_now)
    by_day = reading(_by_day)
    by_owner = reading(_by_owner)

    async def purge(self, *, kept_days: float) -> None:
        await self.database.run(_purge_usage, kept_days)
