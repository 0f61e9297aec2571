"""All storage ports over one SQL database."""

from dataclasses import dataclass

from sqlalchemy import Connection, select

from backend.storage.ports.appointments import AppointmentStore
from backend.storage.ports.budgets import BudgetStore
from backend.storage.ports.profiles import ProfileStore
from backend.storage.ports.sessions import SessionStore
from backend.storage.ports.showrooms import ShowroomStore
from backend.storage.ports.summaries import SummaryStore
from backend.storage.ports.usage import UsageStore
from backend.storage.sql import partitions
from backend.storage.sql.appointments import SqlAppointments
from backend.storage.sql.budgets import SqlBudgets
from backend.storage.sql.database import Database
from backend.storage.sql.failure_detector import FailureDetector
from backend.storage.sql.ledger import SqlUsage
from backend.storage.sql.migrate import migrate_apart, require_current, upgrade
from backend.storage.sql.postgres_engine import POOL_SIZE, Prepared
from backend.storage.sql.profiles import SqlProfiles
from backend.storage.sql.sessions import SqlSessions
from backend.storage.sql.showrooms import SqlShowrooms
from backend.storage.sql.summaries import SqlSummaries


@dataclass(slots=True)
class SqlStores:
    sessions: SessionStore
    summaries: SummaryStore
    appointments: AppointmentStore
    profiles: ProfileStore
    showrooms: ShowroomStore
    usage: UsageStore
    budgets: BudgetStore
    database: Database

    async def ping(self) -> None:
        await self.database.read(_ping)

    async def maintain(self) -> None:
        await self.database.run(partitions.make_ahead)

    async def close(self) -> None:
        await self.database.close()


async def open_sql(
    database_url: str,
    *,
    lease_seconds: float,
    migrate: bool,
    migrate_url: str | None = None,
    pool_size: int = POOL_SIZE,
    prepared: Prepared = "auto",
) -> SqlStores:
    """Open the database, and migrate its schema or only check it. The caller closes the stores."""
    database = Database(database_url, pool_size=pool_size, prepared=prepared)
    try:
        if migrate and migrate_url is not None:
            await migrate_apart(migrate_url)
        is_to_migrate = migrate and migrate_url is None
        is_finished = await database.run(upgrade if is_to_migrate else require_current)
    except BaseException:  # a cancelled start must not leave threads behind either
        await database.close()
        raise
    detector = FailureDetector(lease_seconds)
    # Other workers' leases may have expired only because the database was down until now.
    detector.suspend()
    return SqlStores(
        SqlSessions(
            database,
            lease_seconds=lease_seconds,
            detector=detector,
            has_own_logs=is_finished,
        ),
        SqlSummaries(database, lease_seconds=lease_seconds),
        SqlAppointments(database),
        SqlProfiles(database),
        SqlShowrooms(database),
        SqlUsage(database),
        SqlBudgets(database),
        database,
    )


def _ping(connection: Connection) -> None:
    connection.execute(select(1))
