"""A thread logs where the event loop stands, and for how long it stood."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from backend.telemetry.loop_lag import EVERY_SECONDS, LoopLag
from backend.telemetry.loop_watchdog import MOST_FRAMES, LoopWatchdog
from tests.waiting import waiting

Lines = list[MutableMapping[str, Any]]


@asynccontextmanager
async def watched(*, quiet_seconds: float = 0.0) -> AsyncIterator[Lines]:
    lag = LoopLag()
    watching = asyncio.create_task(lag.watch())
    watchdog = LoopWatchdog(lag, quiet_seconds=quiet_seconds)
    with capture_logs() as lines:
        watchdog.start()
        try:
            await asyncio.sleep(2 * EVERY_SECONDS)  # the first timer is due
            yield lines
        finally:
            watchdog.stop()
            watching.cancel()


def sleep_in_the_loop(secret: str) -> None:
    # The fault. Its frame holds a secret, which no line may contain.
    time.sleep(1 + 0 * len(secret))


def compute_in_the_loop(secret: str) -> None:
    until = time.perf_counter() + 1 + 0 * len(secret)
    while time.perf_counter() < until:
        pass


@pytest.mark.parametrize("block", [sleep_in_the_loop, compute_in_the_loop])
async def test_the_stack_names_the_function_that_blocks(block: Callable[[str], None]) -> None:
    async with watched() as lines, waiting():
        block("a person's words")
        while len(lines) < 2:
            await asyncio.sleep(0.01)

    stands, moves = lines[:2]
    assert (stands["event"], moves["event"]) == ("event_loop_stands", "event_loop_moves")
    assert stands["log_level"] == "warning"
    assert any(place.endswith(f" in {block.__name__}") for place in stands["stack"].splitlines())
    assert 0.5 <= stands["seconds"] <= moves["after_seconds"]
    assert moves["after_seconds"] >= 0.9
    assert "a person's words" not in str(lines)


async def test_a_loop_that_moves_logs_nothing() -> None:
    async with watched() as lines:
        for _ in range(5):
            time.sleep(0.2)  # noqa: ASYNC251 - it is what may happen
            await asyncio.sleep(2 * EVERY_SECONDS)  # the loop moves in between

    assert lines == []


async def test_many_stalls_in_a_short_time_are_logged_once() -> None:
    async with watched(quiet_seconds=60) as lines, waiting():
        for _ in range(3):
            sleep_in_the_loop("")
            await asyncio.sleep(4 * EVERY_SECONDS)  # the watchdog sees that the loop moves

    assert [line["event"] for line in lines] == ["event_loop_stands", "event_loop_moves"]


async def test_a_deep_stack_is_cut_to_its_innermost_frames() -> None:
    def dive(depth: int) -> None:
        if depth:
            dive(depth - 1)
        else:
            sleep_in_the_loop("")

    async with watched() as lines, waiting():
        dive(2 * MOST_FRAMES)
        while not lines:
            await asyncio.sleep(0.01)

    assert len(lines[0]["stack"].splitlines()) == MOST_FRAMES
    assert lines[0]["stack"].endswith(" in sleep_in_the_loop")
