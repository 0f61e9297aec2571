"""Customer profiles in SQL."""

from sqlalchemy import Connection, bindparam, select

from backend.storage.ports.profiles import Profile
from backend.storage.sql.operations import SqlStore, reading
from backend.storage.sql.tables import profiles

_PROFILE = select(profiles).where(profiles.c.user_id == bindparam("user_id"))


def _profile(connection: Connection, user_id: str) -> Profile | None:
    row = connection.execute(_PROFILE, {"user_id": user_id}).one_or_none()
    if row is None:
        return None
    return Profile(row.user_id, row.name, row.preferred_dealership_id)


class SqlProfiles(SqlStore):
    profile = reading(_profile)
