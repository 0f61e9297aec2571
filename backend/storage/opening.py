"""Picks the store that a database URL asks for."""

from pydantic import SecretStr

from backend.storage.memory import memory_stores
from backend.storage.ports.stores import Stores
from backend.storage.sql.stores import open_sql


async def open_stores(
    database_url: SecretStr | str, *, lease_seconds: float, migrate: bool
) -> Stores:
    """`memory://`, `sqlite:///file.db` or `postgresql://…`. Whoever opens them closes them.

    Raises:
        StorageError: no such database, or its schema is not that of this version.
    """
    url = database_url if isinstance(database_url, str) else database_url.get_secret_value()
    if url.startswith("memory://"):
        return memory_stores(lease_seconds=lease_seconds)
    return await open_sql(url, lease_seconds=lease_seconds, migrate=migrate)
