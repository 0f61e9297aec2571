"""How a transaction becomes a method of a store.

A class says in one line which function of a connection each of its operations is. The method has
the function's parameters but for the connection, and its name in metrics and spans.
"""

from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection

from backend.storage.sql.database import Database

P = ParamSpec("P")
T = TypeVar("T")

Transaction = Callable[Concatenate[Connection, P], T]
Operation = Callable[Concatenate["SqlStore", P], Coroutine[Any, Any, T]]


class SqlStore:
    def __init__(self, database: Database) -> None:
        self.database = database


def writing(transaction: Transaction[P, T]) -> Operation[P, T]:
    async def run(self: SqlStore, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.database.run(transaction, *args, **kwargs)

    return run


def reading(transaction: Transaction[P, T]) -> Operation[P, T]:
    """For one that only reads: it waits for no writer."""

    async def read(self: SqlStore, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.database.read(transaction, *args, **kwargs)

    return read
