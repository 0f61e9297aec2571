"""Helpers that bring databases to any revision of the schema."""

from collections.abc import Callable

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from backend.storage.sql.database import Database
from backend.storage.sql.migrate import UNFINISHED, _config, migrate
from backend.storage.sql.seeding import insert_sample_data


def migrate_to(url: str, how: Callable[[Config, str], None], revision: str) -> None:
    def migrated(connection: Connection) -> None:
        config = _config()
        config.attributes["connection"] = connection
        how(config, revision)

    database = Database(url)
    database.transact(migrated)
    database.dispose()


def leave_unfinished(url: str) -> None:
    """Make a new database look like one that was migrated without `--finish`."""
    migrate_to(url, command.upgrade, UNFINISHED)
    database = Database(url)
    database.transact(insert_sample_data)
    database.dispose()
    migrate(url)


def execute(url: str, *statements: str) -> None:
    database = Database(url)
    database.transact(lambda connection: [connection.execute(text(each)) for each in statements])
    database.dispose()
