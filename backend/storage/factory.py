"""Opens the store that a database URL names."""

from pydantic import SecretStr

from backend.storage.memory.stores import memory_stores
from backend.storage.ports.stores import Stores
from backend.storage.sql import database_url as sql_urls
from backend.storage.sql.postgres_engine import POOL_SIZE, Prepared
from backend.storage.sql.stores import open_sql


async def open_stores(
    database_url: SecretStr | str,
    *,
    lease_seconds: float,
    migrate: bool,
    migrate_url: SecretStr | str | None = None,
    pool_size: int = POOL_SIZE,
    prepared: Prepared = "auto",
) -> Stores:
    """Open `memory://`, `sqlite:///file.db` or `postgresql://…`. The caller closes the stores.

    With `migrate`, the schema is migrated over `migrate_url`, by default the same URL. `pool_size`
    and `prepared` are for Postgres.

    Raises:
        StoreAway: the database cannot be reached, or it is not ready yet.
        StorageError: the URL is wrong, the database refuses the connection, or its schema does not
            match this version.
    """
    url = _text(database_url)
    if url.startswith("memory://"):
        return memory_stores(lease_seconds=lease_seconds)
    return await open_sql(
        url,
        lease_seconds=lease_seconds,
        migrate=migrate,
        migrate_url=None if migrate_url is None else _text(migrate_url),
        pool_size=pool_size,
        prepared=prepared,
    )


def server_of(database_url: SecretStr | str) -> str | None:
    """The host and port of the database server, for a log line; None for a file or memory."""
    return sql_urls.server_of(_text(database_url))


def _text(database_url: SecretStr | str) -> str:
    return database_url if isinstance(database_url, str) else database_url.get_secret_value()
