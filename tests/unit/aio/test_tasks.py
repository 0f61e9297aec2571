"""Cancelled tasks end, even if they miss their first cancellation."""

import asyncio

from backend.aio.tasks import cancel_and_wait
from tests.waiting import within_limit


async def test_tasks_have_ended_whatever_they_were_doing() -> None:
    async def fail() -> None:
        raise ValueError

    sleeping = asyncio.create_task(asyncio.sleep(600))
    done = asyncio.create_task(asyncio.sleep(0, "done"))
    failed = asyncio.create_task(fail())
    await asyncio.wait([done, failed])

    await within_limit(cancel_and_wait([sleeping, done, failed]))

    assert sleeping.cancelled()
    assert done.result() == "done"
    assert isinstance(failed.exception(), ValueError)


async def test_a_task_that_misses_its_cancellation_is_cancelled_again() -> None:
    """Like a task on Python 3.11 whose `wait_for` returns in the same tick."""
    missed: list[str] = []

    async def repeat() -> None:
        while True:
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError as error:
                if missed:
                    raise
                missed.append(str(error))

    repeating = asyncio.create_task(repeat())
    await asyncio.sleep(0)

    await within_limit(cancel_and_wait([repeating]))

    assert len(missed) == 1
    assert repeating.cancelled()
