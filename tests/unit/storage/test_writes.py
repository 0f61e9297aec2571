"""Statements that are compiled once store the same as SQLAlchemy's own execution."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import (
    JSON,
    Column,
    Connection,
    Integer,
    MetaData,
    Table,
    Text,
    bindparam,
    create_engine,
    insert,
    update,
)
from sqlalchemy.exc import IntegrityError

from backend.storage.sql.dialects import UtcDateTime
from backend.storage.sql.writes import Write

metadata = MetaData()
things = Table(
    "things",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("size", Integer, nullable=False, default=7),
    Column("note", JSON(none_as_null=True)),
    Column("at", UtcDateTime),
    Column("text", Text),
)
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        metadata.create_all(connection)
        yield connection
    engine.dispose()


def test_values_are_converted_and_defaults_added(connection: Connection) -> None:
    Write(insert(things)).run(connection, {"id": 1, "note": ["é"], "at": AT})

    assert _rows(connection) == [(1, 7, ["é"], AT, None)]


def test_each_set_of_names_has_its_own_form(connection: Connection) -> None:
    write = Write(insert(things))

    write.run(connection, {"id": 1, "size": 1})
    write.run(connection, {"id": 2, "text": "two"})

    assert _rows(connection) == [(1, 1, None, None, None), (2, 7, None, None, "two")]


def test_several_rows_are_one_execution(connection: Connection) -> None:
    rows = [{"id": number, "text": str(number)} for number in range(3)]

    Write(insert(things)).run_many(connection, rows)

    assert [row.text for row in _rows(connection)] == ["0", "1", "2"]


def test_an_update_keeps_the_constants_of_its_statement(connection: Connection) -> None:
    Write(insert(things)).run(connection, {"id": 1, "text": "old", "note": {"a": 1}})
    larger = Write(
        update(things)
        .where(things.c.id == bindparam("this"))
        .values(size=things.c.size + bindparam("more"), note=None)
    )

    larger.run(connection, {"this": 1, "more": 2, "text": "new"})

    assert _rows(connection) == [(1, 9, None, None, "new")]


def test_errors_are_those_of_sqlalchemy(connection: Connection) -> None:
    write = Write(insert(things))
    write.run(connection, {"id": 1})

    with pytest.raises(IntegrityError):
        write.run(connection, {"id": 1})


def _rows(connection: Connection) -> list[Any]:
    return list(connection.execute(things.select().order_by(things.c.id)))
