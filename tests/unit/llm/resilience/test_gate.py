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
    """Measured at the gate: a turn that is let through may wake later on a busy machine."""
    at: list[float] = []
    gate = Gate(lambda _: spacing_seconds, on_release=lambda: at.append(time.monotonic()))

    woken = await released(gate, *[0.1] * 8)

    assert min(woken) >= 0.1
    gaps = [later - earlier for earlier, later in pairwise(at)]
    assert len(gaps) == 7
    assert min(gaps) >= max(LEAST_SPACING_SECONDS, spacing_seconds) * 0.9


async def test_a_short_wait_does_not_stand_behind_a_long_one() -> None:
    gate = Gate(lambda _: 0.05)

    long, short = await released(gate, 0.4, 0.01)

    assert short < 0.3 < long


async def test_one_who_has_not_waited_is_sent_to_the_end_of_the_line() -> None:
    gate = Gate(lambda _: 0.1)
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
    gate = Gate(lambda _: 0.1)
    waiting = asyncio.create_task(gate.passed(60.0))
    await asyncio.sleep(0)

    gate.check()
    estimates = gate.estimate_seconds(1.0), gate.estimate_seconds(61.0)
    waiting.cancel()
    await asyncio.wait([waiting])

    assert estimates == pytest.approx((1.0, 61.1))


async def test_one_who_leaves_the_line_makes_room() -> None:
    gate = Gate(lambda _: 0.05)
    line = [asyncio.create_task(gate.passed(0.0)) for _ in range(4)]
    await asyncio.sleep(0)

    for leaver in line[:3]:
        leaver.cancel()
    await asyncio.wait(line)

    assert not line[3].cancelled()
    assert gate.estimate_seconds(0.0) == 0.0


async def test_turns_pass_in_the_order_of_their_arrival_not_of_their_waits() -> None:
    gate = Gate(lambda _: 0.02)
    now = time.monotonic()
    order: list[str] = []

    async def turn(name: str, *, came_at: float) -> None:
        # All wait until the same moment, even if the machine stalls between two of them.
        await gate.passed(now + 0.2 - time.monotonic(), came_at=came_at)
        order.append(name)

    await asyncio.gather(*(turn(f"{n}", came_at=now - n) for n in range(5)))

    assert order == ["4", "3", "2", "1", "0"]


async def test_a_turn_that_queues_again_only_counts_those_before_it() -> None:
    gate = Gate(lambda _: 0.1)
    now = time.monotonic()
    line = [asyncio.create_task(gate.passed(0.0)) for _ in range(3)]
    await asyncio.sleep(0)

    early, late = gate.estimate_seconds(0.0, came_at=now - 1), gate.estimate_seconds(0.0)
    for each in line:
        each.cancel()
    await asyncio.wait(line)

    assert (early, late) == pytest.approx((0.0, 0.3))


async def test_the_gap_follows_the_number_of_those_who_wait() -> None:
    asked: list[int] = []

    def spacing_seconds(waiting: int) -> float:
        asked.append(waiting)
        return 0.0

    await released(Gate(spacing_seconds), *[0.0] * 4)

    assert asked == sorted(asked[:4]) + sorted(asked[4:], reverse=True)
    assert max(asked) == 4


async def test_nobody_passes_while_the_rate_is_blocked_and_a_change_is_noticed() -> None:
    blocked_seconds = 60.0
    gate = Gate(blocked_seconds=lambda: blocked_seconds)
    waiting = asyncio.create_task(gate.passed(0.0))
    await asyncio.sleep(0.05)
    was_done = waiting.done()

    blocked_seconds = 0.0
    gate.replan()
    await asyncio.wait_for(waiting, 5)

    assert not was_done


async def test_a_shared_gate_lets_nobody_through_by_itself_until_it_stands_alone() -> None:
    gate = Gate()
    gate.share(others=2, is_queued=True, passed=[])
    line = [asyncio.create_task(gate.passed(0.0)) for _ in range(3)]
    await asyncio.sleep(0.1)
    places = [place.id for place in gate.places()]
    estimate = gate.estimate_seconds(0.0)
    gate.share(others=2, is_queued=True, passed=[places[1], "unknown"])
    await asyncio.sleep(0)
    by_the_others = [task.done() for task in line]
    gate.stand_alone()
    await asyncio.wait(line, timeout=5)

    assert by_the_others == [False, True, False]
    assert estimate == pytest.approx(5 * LEAST_SPACING_SECONDS)
    assert all(task.done() for task in line)
    gate.check()


async def test_a_newcomer_stands_behind_the_turns_of_other_workers() -> None:
    gate = Gate()
    gate.share(others=1, is_queued=False, passed=[])
    gate.check()
    gate.share(others=1, is_queued=True, passed=[])

    with pytest.raises(UpstreamBusy):
        gate.check()


async def test_who_waits_and_who_passes_is_told() -> None:
    waiting: list[int] = []
    passed: list[None] = []
    gate = Gate(on_waiting=waiting.append, on_release=lambda: passed.append(None))
    leaver = asyncio.create_task(gate.passed(60.0))
    await released(gate, 0.0, 0.0)
    leaver.cancel()
    await asyncio.wait([leaver])

    assert (max(waiting), waiting[-1], len(passed)) == (3, 0, 2)
