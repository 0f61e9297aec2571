"""Helpers that bring databases to any revision of the schema."""

from collections.abc import Callable

from alembic.config import Config
from sqlalchemy import Connection, text

from backend.storage.sql.database import Database
from backend.storage.sql.migrate import _config


def migrate_to(url: str, how: Callable[[Config, str], None], revision: str) -> None:
    def migrated(connection: Connection) -> None:
        config = _config()
        config.attributes["connection"] = connection
        how(config, revision)

    database = Database(url)
    database.transact(migrated)
    database.dispose()


def execute(url: str, *statements: str) -> None:
    database = Database(url)
    database.transact(lambda connection: [connection.execute(text(each)) for each in statements])
    database.dispose()
