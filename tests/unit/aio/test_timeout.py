"""The reusable time-out: each wait gets the full time, and cancellations pass through."""

import asyncio
from contextlib import closing

import pytest

from backend.aio.timeout import ReusableTimeout


async def test_a_wait_that_is_too_long_is_ended() -> None:
    with closing(ReusableTimeout(0.05)) as timeout:
        with pytest.raises(TimeoutError), timeout:
            await asyncio.sleep(60)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(0)  # the earlier time-out has no effect any more


async def test_each_wait_has_all_of_the_time() -> None:
    """Wait so often that the time of a single wait would have run out long before the end."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    with closing(ReusableTimeout(1.0)) as timeout:
        while loop.time() - begun < 2.5:
            with timeout:
                await asyncio.sleep(0.01)


async def test_what_is_done_between_two_waits_takes_none_of_it() -> None:
    with closing(ReusableTimeout(0.05)) as timeout:
        for _ in range(3):
            with timeout:
                await asyncio.sleep(0)
            await asyncio.sleep(0.2)
        with pytest.raises(TimeoutError), timeout:
            await asyncio.sleep(60)


async def test_it_ends_the_wait_after_one_that_it_has_ended() -> None:
    with closing(ReusableTimeout(0.05)) as timeout:
        for _ in range(3):
            with pytest.raises(TimeoutError), timeout:
                await asyncio.sleep(60)


async def test_a_cancellation_from_elsewhere_is_no_timeout() -> None:
    async def wait() -> None:
        with closing(ReusableTimeout(60)) as timeout, timeout:
            await asyncio.sleep(60)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_wins_over_a_timeout_at_the_same_moment() -> None:
    async def wait() -> None:
        with closing(ReusableTimeout(0.05)) as timeout, timeout:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                task.cancel()
                raise

    task = asyncio.create_task(wait())

    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_what_fails_in_time_fails_as_it_is() -> None:
    with closing(ReusableTimeout(60)) as timeout, pytest.raises(OSError, match="away"), timeout:
        raise OSError("away")


async def test_tasks_may_wait_one_after_the_other() -> None:
    """The time-out ends the task that waits, even if another task created it."""

    async def wait(limit: ReusableTimeout) -> None:
        with limit:
            await asyncio.sleep(60)

    with closing(ReusableTimeout(0.05)) as timeout:
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await asyncio.create_task(wait(timeout))
