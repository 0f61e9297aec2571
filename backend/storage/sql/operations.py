"""Turns functions of a connection into the async methods of a store.

A method takes the function's parameters, without the connection. Metrics and spans use the
function's name.
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
    """Like `writing`, for a function that only reads: on SQLite it never waits for a writer."""

    async def read(self: SqlStore, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.database.read(transaction, *args, **kwargs)

    return read
