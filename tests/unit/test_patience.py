"""One time limit for many waits: each has all of it, and a cancellation stays one."""

import asyncio
from contextlib import closing

import pytest

from backend.patience import Patience


async def test_a_wait_that_is_too_long_is_ended() -> None:
    with closing(Patience(0.05)) as patience:
        with pytest.raises(TimeoutError), patience:
            await asyncio.sleep(60)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(0)  # nothing is left of it


async def test_each_wait_has_all_of_the_time() -> None:
    """So many that the time of one would be over long before the last."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    with closing(Patience(1.0)) as patience:
        while loop.time() - begun < 2.5:
            with patience:
                await asyncio.sleep(0.01)


async def test_what_is_done_between_two_waits_takes_none_of_it() -> None:
    with closing(Patience(0.05)) as patience:
        for _ in range(3):
            with patience:
                await asyncio.sleep(0)
            await asyncio.sleep(0.2)
        with pytest.raises(TimeoutError), patience:
            await asyncio.sleep(60)


async def test_it_ends_the_wait_after_one_that_it_has_ended() -> None:
    with closing(Patience(0.05)) as patience:
        for _ in range(3):
            with pytest.raises(TimeoutError), patience:
                await asyncio.sleep(60)


async def test_a_cancellation_from_elsewhere_is_no_timeout() -> None:
    async def wait() -> None:
        with closing(Patience(60)) as patience, patience:
            await asyncio.sleep(60)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_wins_over_a_timeout_at_the_same_moment() -> None:
    async def wait() -> None:
        with closing(Patience(0.05)) as patience, patience:
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
    with closing(Patience(60)) as patience, pytest.raises(OSError, match="away"), patience:
        raise OSError("away")


async def test_tasks_may_wait_one_after_the_other() -> None:
    """The one that waits is ended, whoever made it."""

    async def wait(patience: Patience) -> None:
        with patience:
            await asyncio.sleep(60)

    with closing(Patience(0.05)) as patience:
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await asyncio.create_task(wait(patience))
