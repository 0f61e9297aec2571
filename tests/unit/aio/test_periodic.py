"""Repeated work runs on time, even if it fails."""

import asyncio

import pytest
from structlog.testing import capture_logs

from backend.aio.periodic import SOONEST_SECONDS, repeat, repeating
from backend.domain.errors import StorageError
from tests.waiting import within_limit


@pytest.mark.parametrize(
    ("error", "level"), [(StorageError(), "warning"), (ValueError("a defect"), "error")]
)
async def test_a_failure_is_logged_and_followed_by_the_next_time(
    error: Exception, level: str
) -> None:
    renewed = asyncio.Event()
    failures = [error, error]

    async def renew() -> None:
        if failures:
            raise failures.pop()
        renewed.set()

    with capture_logs() as logs:
        keeping = asyncio.create_task(
            repeat(renew, every_seconds=0.01, name="renew", expected=StorageError)
        )
        await within_limit(renewed.wait())

    assert [line["log_level"] for line in logs] == [level, level]
    assert not keeping.done()
    keeping.cancel()
    await asyncio.wait([keeping])


async def test_its_first_time_may_be_sooner() -> None:
    purged = asyncio.Event()

    async def purge() -> None:
        purged.set()

    keeping = asyncio.create_task(
        repeat(purge, every_seconds=600, first_seconds=0.01, name="purge")
    )
    await within_limit(purged.wait())

    keeping.cancel()
    await asyncio.wait([keeping])


async def test_it_is_done_at_its_interval() -> None:
    renewals: list[float] = []
    loop = asyncio.get_running_loop()

    async def renew() -> None:
        renewals.append(loop.time())

    keeping = asyncio.create_task(repeat(renew, every_seconds=0.2, name="renew"))
    await asyncio.sleep(0.7)
    keeping.cancel()
    await asyncio.wait([keeping])

    assert 2 <= len(renewals) <= 3


@pytest.mark.parametrize("steps", range(4))
async def test_it_can_be_cancelled_while_it_is_wanted_sooner(steps: int) -> None:
    sooner = asyncio.Event()
    renewed = asyncio.Event()

    async def renew() -> None:
        renewed.set()

    sooner.set()
    keeping = asyncio.create_task(repeat(renew, every_seconds=600, name="renew", sooner=sooner))
    await within_limit(renewed.wait())
    await asyncio.sleep(2 * SOONEST_SECONDS)  # now it waits again
    sooner.set()
    for _ in range(steps):
        await asyncio.sleep(0)
    keeping.cancel()
    ended, _ = await asyncio.wait([keeping], timeout=5)

    assert ended == {keeping}


async def test_it_is_done_beside_a_block_until_its_end() -> None:
    renewals = 0
    renewed = asyncio.Event()

    async def renew() -> None:
        nonlocal renewals
        renewals += 1
        renewed.set()

    async with repeating(renew, every_seconds=0.01, name="renew"):
        await within_limit(renewed.wait())
    until_then = renewals
    await asyncio.sleep(0.1)

    assert renewals == until_then
