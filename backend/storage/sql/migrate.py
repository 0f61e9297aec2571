"""Migrates a database to the schema of this version. Any number of workers may try at once.

If a later version has migrated the database already, it stays as it is, provided that this version
can work with it.

`python -m backend.storage.sql.migrate` migrates `MIGRATE_DATABASE_URL` or else `DATABASE_URL`, for
deployments that do not migrate on start. With `--finish` it also makes the changes that the release
before this one cannot work with. Everything works without them; a new database has them from the
beginning.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text

from backend.domain.errors import StorageError
from backend.storage.sql import partitions
from backend.storage.sql.database import Database
from backend.storage.sql.schema_check import is_newer, require_compatible
from backend.storage.sql.seeding import insert_sample_data
from backend.telemetry.redaction import redacted, secrets_in_url

logger = structlog.get_logger()

APART = "MIGRATE_DATABASE_URL"
"""The setting with the URL for migrations, if they take another way to the database."""

_NO_LIMITS = text("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0")
_LOCK = text("SELECT pg_advisory_xact_lock(715517)")  # any number, but the same in all versions
# While ALTER TABLE waits for a lock, all later queries on that table queue behind it.
_SHORT_LOCKS = text("SET LOCAL lock_timeout = '3s'")


FINISHING = "0014"
"""The revision that a release from before 0013 cannot work with."""

UNFINISHED = "0015"
"""The revision of a database that has everything but `FINISHING`, and what follows from it."""


def migrate(database_url: str, *, finish: bool = False) -> None:
    """Raises: StorageError."""
    database = _database(database_url)
    try:
        database.transact(upgrade, finish=finish)
    finally:
        database.dispose()


async def migrate_apart(database_url: str) -> None:
    """Migrate over connections of their own, with the URL of `MIGRATE_DATABASE_URL`.

    Raises: StorageError, with that setting.
    """
    try:
        database = _database(database_url)
        try:
            await database.run(upgrade)
        finally:
            await database.close()
    except StorageError as error:
        error.setting = APART
        raise


def _database(url: str) -> Database:
    # A statement that is prepared for a single transaction would only stay behind in a pooler.
    return Database(url, pool_size=1, prepared="off")


def upgrade(connection: Connection, *, finish: bool = False) -> bool:
    """Migrate within the given transaction: everything happens, or nothing.

    Returns whether the upgrade is finished. Without `finish`, that of an existing database is left
    unfinished, so that the release before this one can work with it.

    Takes a lock before it reads the revision, so a second worker finds the work done. On SQLite
    the transaction itself is the lock.

    Raises:
        StorageError: this version can neither migrate the database nor work with its schema.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(_NO_LIMITS)
        connection.execute(_LOCK)
        connection.execute(_SHORT_LOCKS)
    revisions = _revisions(connection)
    if is_newer(revisions, _head()):
        require_compatible(connection, revisions)
        return True
    is_finished = (
        finish or not revisions or FINISHING in revisions or is_newer(revisions, UNFINISHED)
    )
    target = _head() if is_finished else UNFINISHED
    if revisions != [target]:
        _migrate_to(connection, target)
    if not revisions:
        insert_sample_data(connection)
    partitions.make_ahead(connection)
    if not is_finished:
        logger.info("schema_not_finished", revision=_revisions(connection)[0])
    return is_finished


def _migrate_to(connection: Connection, revision: str) -> None:
    config = _config()
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, revision)
    except CommandError as error:
        raise StorageError("The database cannot be migrated by this version.") from error


def require_current(connection: Connection) -> bool:
    """Return whether the upgrade is finished.

    Raises:
        StorageError: neither this version nor a later one has migrated the database.
    """
    revisions = _revisions(connection)
    if is_newer(revisions, _head()):
        require_compatible(connection, revisions)
        return True
    if revisions not in ([_head()], [UNFINISHED]):
        raise StorageError(
            "The database is not at the schema of this version: "
            "run python -m backend.storage.sql.migrate, or set MIGRATE_ON_START=true."
        )
    return revisions == [_head()]


def require_same_version(connection: Connection) -> None:
    """Raises: StorageError, if another version has migrated the database."""
    if is_newer(_revisions(connection), _head()):
        raise StorageError("A later version has migrated the database: use that version.")
    require_current(connection)


def _revisions(connection: Connection) -> list[str]:
    return list(MigrationContext.configure(connection).get_current_heads())


def _head() -> str:
    (head,) = _scripts().get_heads()
    return head


@cache
def _scripts() -> ScriptDirectory:
    """The migrations of this version. Cached, because reading them takes 10 ms."""
    return ScriptDirectory.from_config(_config())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    return config


def main(environment: Mapping[str, str], arguments: Sequence[str] = ()) -> int:
    """Return the exit code. An error is one line on stderr, without secrets."""
    if set(arguments) - {"--finish"}:
        sys.stderr.write("usage: python -m backend.storage.sql.migrate [--finish]\n")
        return 2
    setting = APART if environment.get(APART) else "DATABASE_URL"
    database_url = environment.get(setting)
    if not database_url:
        sys.stderr.write("DATABASE_URL is not set: it says which database to migrate.\n")
        return 2
    try:
        migrate(database_url, finish="--finish" in arguments)
    except StorageError as error:
        reason = redacted(error.explanation, secrets_in_url(database_url))
        sys.stderr.write(f"{setting}: {reason}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ, sys.argv[1:]))
