"""A claim looks at its worker's lease unless that is known to be fresh."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import Connection, delete, func, select, text

from backend.domain.errors import StorageError
from backend.storage.sql.database import Database
from backend.storage.sql.migrate import upgrade
from backend.storage.sql.sessions import SqlSessions
from backend.storage.sql.tables import workers
from tests.contract.conversations import EVERYTHING, new_turn, say


@pytest.fixture
async def database(sql_url: str) -> AsyncIterator[Database]:
    database = Database(sql_url)
    await database.run(upgrade)
    yield database
    await database.close()


async def test_a_renewal_spares_claims_the_look(database: Database) -> None:
    sessions = SqlSessions(database, lease_seconds=60)
    await sessions.renew("w1")

    await database.run(_forget_leases)
    await sessions.claim(new_turn(session_id="new"), history_tokens=EVERYTHING)

    assert await database.run(_count_leases) == 0


async def test_a_renewal_of_the_lease_alone_counts_too(database: Database) -> None:
    sessions = SqlSessions(database, lease_seconds=60)
    await sessions.renew_lease("w1")
    await say(sessions, new_turn(session_id="old"), "Hi.")

    await database.run(_forget_leases)
    await sessions.claim(new_turn(session_id="old"), history_tokens=EVERYTHING)

    assert await database.run(_count_leases) == 0


async def test_a_claim_looks_after_any_failure_of_the_database(database: Database) -> None:
    sessions = SqlSessions(database, lease_seconds=60)
    await sessions.renew("w1")

    await database.run(_forget_leases)
    with pytest.raises(StorageError):
        await database.run(lambda connection: connection.execute(text("SELECT * FROM nowhere")))
    await sessions.claim(new_turn(), history_tokens=EVERYTHING)

    assert await database.run(_count_leases) == 1


async def test_a_claim_looks_half_a_lease_after_the_renewal(database: Database) -> None:
    sessions = SqlSessions(database, lease_seconds=0.2)
    await sessions.renew("w1")

    await database.run(_forget_leases)
    await asyncio.sleep(0.15)
    await sessions.claim(new_turn(), history_tokens=EVERYTHING)

    assert await database.run(_count_leases) == 1


async def test_a_claim_looks_after_the_worker_has_retired(database: Database) -> None:
    sessions = SqlSessions(database, lease_seconds=60)
    await sessions.renew("w1")

    await sessions.retire("w1")
    await sessions.claim(new_turn(), history_tokens=EVERYTHING)

    assert await database.run(_count_leases) == 1


async def test_the_lease_of_one_worker_says_nothing_of_another(database: Database) -> None:
    sessions = SqlSessions(database, lease_seconds=60)
    await sessions.renew("w1")

    await sessions.claim(new_turn(worker="w2"), history_tokens=EVERYTHING)

    assert await database.run(_count_leases) == 2


def _forget_leases(connection: Connection) -> None:
    connection.execute(delete(workers))


def _count_leases(connection: Connection) -> int:
    return connection.scalar(select(func.count()).select_from(workers)) or 0
