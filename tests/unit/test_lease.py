"""The lease is renewed on time, whatever happens to a renewal."""

import asyncio

import pytest

from backend.errors import StorageError
from backend.lease import keep_lease


@pytest.mark.parametrize("error", [StorageError(), ValueError("a defect")])
async def test_a_renewal_that_fails_is_followed_by_the_next(error: Exception) -> None:
    renewed = asyncio.Event()
    failures = [error, error]

    async def renew() -> None:
        if failures:
            raise failures.pop()
        renewed.set()

    keeping = asyncio.create_task(keep_lease(renew, lease_seconds=0.03))
    await asyncio.wait_for(renewed.wait(), 5)

    assert not keeping.done()
    keeping.cancel()
    await asyncio.wait([keeping])


async def test_there_are_three_renewals_in_a_lease() -> None:
    renewals: list[float] = []
    loop = asyncio.get_running_loop()

    async def renew() -> None:
        renewals.append(loop.time())

    keeping = asyncio.create_task(keep_lease(renew, lease_seconds=0.6))
    await asyncio.sleep(0.7)
    keeping.cancel()
    await asyncio.wait([keeping])

    assert 2 <= len(renewals) <= 3
