"""Budgets in SQL. Each transaction locks the rows of its windows, in the order of their keys."""

from collections.abc import Sequence

from sqlalchemy import (
    BigInteger,
    Connection,
    and_,
    bindparam,
    cast,
    delete,
    func,
    select,
)

from backend.storage.ports.budgets import Amount, Budget, Exhausted
from backend.storage.sql.dialects import DatabaseTime, insert
from backend.storage.sql.operations import SqlStore, reading, writing
from backend.storage.sql.tables import budget_reservations, budget_windows

_NEW = insert(budget_windows)
# The row must exist to be locked. DO NOTHING would neither return nor lock an existing one.
_LOCK = _NEW.on_conflict_do_update(
    index_elements=[budget_windows.c.key, budget_windows.c.began_at],
    set_={"used": budget_windows.c.used + _NEW.excluded.used},
).returning(budget_windows.c.used)
_RESERVED = select(
    func.coalesce(cast(func.sum(budget_reservations.c.amount), BigInteger), 0)
).where(
    budget_reservations.c.key == bindparam("key"),
    budget_reservations.c.expires_at > DatabaseTime(),
)
_RESERVE = insert(budget_reservations).on_conflict_do_nothing()
_DROP = delete(budget_reservations).where(budget_reservations.c.turn_id == bindparam("turn_id"))
_USED = select(budget_windows.c.used).where(
    and_(
        budget_windows.c.key == bindparam("key"),
        budget_windows.c.began_at == bindparam("began_at"),
    )
)
_PURGE_WINDOWS = delete(budget_windows).where(budget_windows.c.ends_at <= DatabaseTime())
_PURGE_RESERVATIONS = delete(budget_reservations).where(
    budget_reservations.c.expires_at <= DatabaseTime()
)


def _reserve(
    connection: Connection, turn_id: str, amounts: Sequence[Amount], *, expires_seconds: float
) -> list[Exhausted]:
    now = _now(connection)
    full = []
    for each in _ordered(amounts):
        budget = each.budget
        used = _add(connection, budget, 0, now)
        reserved = connection.scalar(_RESERVED, {"key": budget.key}) or 0
        if used + reserved >= budget.limit:
            full.append(Exhausted(budget, budget.seconds - now % budget.seconds))
    if not full:
        rows = [
            {
                "turn_id": turn_id,
                "key": each.budget.key,
                "amount": each.amount,
                "expires_at": now + expires_seconds,
            }
            for each in _ordered(amounts)
        ]
        connection.execute(_RESERVE, rows)
    return full


def _settle(connection: Connection, turn_id: str, amounts: Sequence[Amount]) -> None:
    now = _now(connection)
    for each in _ordered(amounts):
        _add(connection, each.budget, each.amount, now)
    connection.execute(_DROP, {"turn_id": turn_id})


def _used(connection: Connection, budgets: Sequence[Budget]) -> list[int]:
    now = _now(connection)
    return [
        connection.scalar(_USED, {"key": budget.key, "began_at": _began_at(budget, now)}) or 0
        for budget in budgets
    ]


def _purge_budgets(connection: Connection) -> None:
    connection.execute(_PURGE_WINDOWS)
    connection.execute(_PURGE_RESERVATIONS)


def _add(connection: Connection, budget: Budget, amount: int, now: float) -> int:
    """Add to the current window, lock it, and return what is used of it."""
    began_at = _began_at(budget, now)
    window = {
        "key": budget.key,
        "began_at": began_at,
        "ends_at": began_at + budget.seconds,
        "used": amount,
    }
    used: int = connection.execute(_LOCK, window).scalar_one()
    return used


def _now(connection: Connection) -> float:
    now: float = connection.execute(select(DatabaseTime())).scalar_one()
    return now


def _began_at(budget: Budget, now: float) -> int:
    return int(now // budget.seconds) * budget.seconds


def _ordered(amounts: Sequence[Amount]) -> list[Amount]:
    return sorted(amounts, key=lambda each: each.budget.key)


class SqlBudgets(SqlStore):
    reserve = writing(_reserve)
    settle = writing(_settle)
    used = reading(_used)
    purge = writing(_purge_budgets)
