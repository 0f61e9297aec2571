"""The schedule of faults."""

import random

import pytest

from loadtests.chaos.faults import FAULTS
from loadtests.chaos.plan import ACT_SECONDS, CLOCK, SECONDS, SHARE, SHORT, SMOKE, acts
from loadtests.chaos.questions import COMPETITORS, Slots


def kinds(seed: str, minutes: float) -> set[str]:
    return {fault.kind for act in acts(seed, minutes) for fault in act}


def test_a_seed_repeats_its_schedule() -> None:
    assert acts("7", 10) == acts("7", 10)
    assert acts("7", 10) != acts("8", 10)


@pytest.mark.parametrize("seed", ["1", "2", "3"])
def test_a_run_of_minutes_has_every_fault_several_times_and_the_clock_at_its_end(seed: str) -> None:
    planned = acts(seed, 10)

    faults = [fault.kind for act in planned for fault in act]
    assert set(faults) == set(FAULTS) == {*SECONDS, CLOCK}
    assert all(faults.count(kind) >= 2 for kind in SECONDS)
    assert faults.count(CLOCK) == 1
    assert [fault.kind for fault in planned[-1]] == [CLOCK]


@pytest.mark.parametrize("minutes", [2, 5, 10])
def test_faults_fill_the_time_that_they_have(minutes: float) -> None:
    *ordinary, _clock = acts("1", minutes)

    seconds = [sum(fault.seconds + fault.pause_seconds for fault in act) for act in ordinary]
    planned = SHARE * minutes * 60
    assert planned - 30 < sum(seconds) <= planned
    assert max(seconds) < 2 * ACT_SECONDS


def test_a_short_run_has_the_faults_that_found_most() -> None:
    assert kinds("1", 1) == {*SHORT, CLOCK}
    assert kinds("1", 0.1) == {*SMOKE, CLOCK}


def test_customers_compete_for_each_slot() -> None:
    slots = Slots(random.Random("1"))  # noqa: S311 - not for security

    offered = [slots.take() for _ in range(COMPETITORS * 5)]

    assert len(set(offered)) == 5
