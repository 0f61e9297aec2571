"""Profiles of customers in SQL."""

from sqlalchemy import Connection, bindparam, select

from backend.storage.ports.profiles import Profile
from backend.storage.sql.database import Database
from backend.storage.sql.tables import profiles

_PROFILE = select(profiles).where(profiles.c.user_id == bindparam("user_id"))


class SqlProfiles:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def profile(self, user_id: str) -> Profile | None:
        return await self._database.run(_profile, user_id)


def _profile(connection: Connection, user_id: str) -> Profile | None:
    row = connection.execute(_PROFILE, {"user_id": user_id}).one_or_none()
    if row is None:
        return None
    return Profile(row.user_id, row.name, row.preferred_dealership_id)
