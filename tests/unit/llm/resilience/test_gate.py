"""Turns that queue for a model resume one after the other."""

import asyncio
import time
from itertools import pairwise

import pytest

from backend.domain.errors import UpstreamBusy
from backend.llm.resilience.gate import LEAST_SPACING_SECONDS, Gate


async def released(gate: Gate, *waits: float) -> list[float]:
    """Return when each turn passes the gate, in seconds from now."""
    begun = time.monotonic()

    async def turn(after_seconds: float) -> float:
        await gate.passed(after_seconds)
        return time.monotonic() - begun

    return await asyncio.gather(*map(turn, waits))


@pytest.mark.parametrize("spacing_seconds", [0.0, 0.05])
async def test_those_who_wait_for_the_same_moment_are_released_one_by_one(
    spacing_seconds: float,
) -> None:
    gate = Gate(lambda: spacing_seconds)

    at = sorted(await released(gate, *[0.1] * 8))

    assert at[0] >= 0.1
    gaps = [later - earlier for earlier, later in pairwise(at)]
    assert min(gaps) >= max(LEAST_SPACING_SECONDS, spacing_seconds) * 0.9


async def test_a_short_wait_does_not_stand_behind_a_long_one() -> None:
    gate = Gate(lambda: 0.05)

    long, short = await released(gate, 0.4, 0.01)

    assert short < 0.3 < long


async def test_one_who_has_not_waited_is_sent_to_the_end_of_the_line() -> None:
    gate = Gate(lambda: 0.1)
    gate.check()
    line = [asyncio.create_task(gate.passed(0.0)) for _ in range(3)]
    await asyncio.sleep(0)

    with pytest.raises(UpstreamBusy) as refused:
        gate.check()
    estimate = gate.estimate_seconds(0.0)
    await asyncio.wait(line)
    gate.check()

    assert not refused.value.was_asked
    assert estimate == pytest.approx(0.3)


async def test_those_whose_wait_is_not_over_hold_up_nobody() -> None:
    gate = Gate(lambda: 0.1)
    waiting = asyncio.create_task(gate.passed(60.0))
    await asyncio.sleep(0)

    gate.check()
    estimates = gate.estimate_seconds(1.0), gate.estimate_seconds(61.0)
    waiting.cancel()
    await asyncio.wait([waiting])

    assert estimates == pytest.approx((1.0, 61.1))


async def test_one_who_leaves_the_line_makes_room() -> None:
    gate = Gate(lambda: 0.05)
    line = [asyncio.create_task(gate.passed(0.0)) for _ in range(4)]
    await asyncio.sleep(0)

    for leaver in line[:3]:
        leaver.cancel()
    await asyncio.wait(line)

    assert not line[3].cancelled()
    assert gate.estimate_seconds(0.0) == 0.0
