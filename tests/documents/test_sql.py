"""The SQL in the documents runs on a database of Lex, and shards all of its tables."""

from collections.abc import Sequence

from sqlalchemy import Connection, inspect, text

from backend.storage.sql.database import Database
from backend.storage.sql.migrate import migrate
from backend.storage.sql.tables import metadata
from tests.documents.test_examples import of_kind
from tests.postgres import PostgresServer

LIKE_CITUS = """
CREATE TABLE sharded (name text, by_column text);
CREATE FUNCTION create_reference_table(name text) RETURNS void LANGUAGE sql
  AS 'INSERT INTO sharded VALUES (name, NULL)';
CREATE FUNCTION create_distributed_table(name text, by_column text, colocate_with text = NULL)
  RETURNS void LANGUAGE sql AS 'INSERT INTO sharded VALUES (name, by_column)';
"""
"""Citus' own functions, which only note what they are called with."""


def sharded(connection: Connection) -> dict[str, str | None]:
    connection.exec_driver_sql(LIKE_CITUS)
    for block in of_kind("sql"):
        connection.exec_driver_sql(block.text)
    rows = connection.execute(text("SELECT name, by_column FROM sharded")).all()
    assert len(rows) == len({row.name for row in rows})
    return {row.name: row.by_column for row in rows}


def test_each_table_is_sharded_by_a_column_of_its_keys(postgres: PostgresServer) -> None:
    with postgres.database() as url:
        migrate(url)
        database = Database(url)
        try:
            found = database.transact(sharded)
            assert found.keys() == {*metadata.tables, "alembic_version"}
            for name, column in found.items():
                if column is not None:
                    for key in database.transact(_keys, name):
                        assert column in key, (name, key)
        finally:
            database.dispose()


def _keys(connection: Connection, table: str) -> list[Sequence[str | None]]:
    """The columns of the primary key and of each unique index and constraint."""
    there = inspect(connection)
    unique = [index["column_names"] for index in there.get_indexes(table) if index["unique"]]
    constraints = [each["column_names"] for each in there.get_unique_constraints(table)]
    return [there.get_pk_constraint(table)["constrained_columns"], *unique, *constraints]
