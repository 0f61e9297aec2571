"""The ledger in SQL: the calls of each turn, and their sums by owner, UTC day, model and purpose.

The sums are written last in a transaction, in the order of their keys, so that two transactions
never wait for each other in a circle.
"""

from collections.abc import Iterable
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, bindparam, or_, select

from backend.domain.usage import ModelCall, Spent
from backend.storage.ports.usage import UsageRow
from backend.storage.sql.dialects import insert
from backend.storage.sql.ledger_rows import columns_of, spent_in
from backend.storage.sql.operations import SqlStore, reading
from backend.storage.sql.rows import AnyRow
from backend.storage.sql.tables import usage_days

_KEY = list(usage_days.primary_key.columns)
_NEW = insert(usage_days)
_ADD = _NEW.on_conflict_do_update(
    index_elements=_KEY,
    set_={
        column.name: column + _NEW.excluded[column.name]
        for column in usage_days.columns
        if not column.primary_key
    },
)
_OWNER: Any = bindparam("owner")
_USAGE = (
    select(usage_days)
    .where(
        usage_days.c.day.between(bindparam("first"), bindparam("last")),
        or_(_OWNER.is_(None), usage_days.c.owner == _OWNER),
    )
    .order_by(usage_days.c.day, usage_days.c.owner, usage_days.c.model, usage_days.c.purpose)
)


def enter(connection: Connection, owner: str, calls: Iterable[ModelCall], at: datetime) -> None:
    """Add the calls to the sums of the owner and of the UTC day of `at`."""
    sums: dict[tuple[str, str], Spent] = {}
    for call in calls:
        key = call.model, call.purpose
        sums[key] = sums.get(key, Spent()) + Spent.of(call)
    for (model, purpose), spent in sorted(sums.items(), key=lambda each: each[0]):
        key_of_row = {"owner": owner, "day": at.date(), "model": model, "purpose": purpose}
        connection.execute(_ADD, {**key_of_row, **columns_of(spent)})


def _usage(connection: Connection, first: date, last: date, *, owner: str | None) -> list[UsageRow]:
    days = {"first": first, "last": last, "owner": owner}
    return [_row_of(row) for row in connection.execute(_USAGE, days)]


def _row_of(row: AnyRow) -> UsageRow:
    return UsageRow(
        owner=row.owner,
        day=row.day,
        model=row.model,
        purpose=row.purpose,
        spent=spent_in(row._mapping),  # noqa: SLF001 - SQLAlchemy's public name for a row as a dict
    )


class SqlUsage(SqlStore):
    usage = reading(_usage)
