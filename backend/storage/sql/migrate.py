"""Brings a database to the schema of this version. Any number of workers may try at once.

One that a later version has migrated already is left as it is, if this version can work with it.

`python -m backend.storage.sql.migrate` does it for DATABASE_URL, for those who do not want
it done on start.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text

from backend.domain.errors import StorageError
from backend.storage.sql.database import Database
from backend.storage.sql.schema_check import is_newer, require_compatible
from backend.storage.sql.seeding import insert_sample_data
from backend.telemetry.redaction import redacted, secrets_in_url

_NO_LIMITS = text("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0")
_LOCK = text("SELECT pg_advisory_xact_lock(715517)")  # any number, as long as it stays
# While a change waits for a table, everybody else's queries wait behind it.
_SHORT_LOCKS = text("SET LOCAL lock_timeout = '3s'")


def migrate(database_url: str) -> None:
    """Raises: StorageError."""
    database = Database(database_url)
    try:
        database.transact(upgrade)
    finally:
        database.dispose()


def upgrade(connection: Connection) -> None:
    """In the one transaction it is given: all of it happens, or nothing.

    The lock comes before the look at the revision, so that whoever comes second finds
    the work done. On SQLite the transaction is the lock.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(_NO_LIMITS)
        connection.execute(_LOCK)
        connection.execute(_SHORT_LOCKS)
    revisions = _revisions(connection)
    if is_newer(revisions, _head()):
        require_compatible(connection, revisions)
        return
    config = _config()
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise StorageError("The database cannot be migrated by this version.") from error
    if not revisions:
        insert_sample_data(connection)


def require_current(connection: Connection) -> None:
    """Raises: StorageError, when `upgrade` has not been run for this version or a later one."""
    revisions = _revisions(connection)
    if is_newer(revisions, _head()):
        require_compatible(connection, revisions)
    elif revisions != [_head()]:
        raise StorageError(
            "The database is not at the schema of this version: "
            "run python -m backend.storage.sql.migrate, or set MIGRATE_ON_START=true."
        )


def _revisions(connection: Connection) -> list[str]:
    return list(MigrationContext.configure(connection).get_current_heads())


def _head() -> str:
    (head,) = ScriptDirectory.from_config(_config()).get_heads()
    return head


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    return config


def main(environment: Mapping[str, str]) -> int:
    """The exit code; what went wrong is one line."""
    database_url = environment.get("DATABASE_URL")
    if not database_url:
        sys.stderr.write("DATABASE_URL says which database to migrate; it is not set.\n")
        return 2
    try:
        migrate(database_url)
    except StorageError as error:
        reason = redacted(error.explanation, secrets_in_url(database_url))
        sys.stderr.write(f"DATABASE_URL: {reason}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
