"""The checks of a chaos run: all pass for an act without faults, and each can fail."""

import pytest

from loadtests.chaos.checks import CHECKS, Check, Verdict, judge, name_of
from loadtests.chaos.found import Told
from tests.loadtests.chaos.acts import BOOKED, MadeUp, error, outcome, went_well
from tests.loadtests.chaos.harms import HARMS, Harm


def violations(made: MadeUp, check: Check) -> list[str]:
    return [problem for problem in check(made.record, made.found) if problem]


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_an_act_that_went_well_passes(check: Check) -> None:
    made = went_well()

    assert violations(made, check) == []


@pytest.mark.parametrize(("check", "harm"), HARMS, ids=[harm.__name__ for _, harm in HARMS])
def test_what_goes_wrong_is_noticed(check: Check, harm: Harm) -> None:
    made = went_well()

    harm(made)

    assert violations(made, check) != []


def test_each_check_can_fail() -> None:
    assert {check for check, _ in HARMS} == set(CHECKS)


def killed(made: MadeUp) -> None:
    """Kill the worker: the question stays, and so does a booking that was made before."""
    made.lose("t1")
    made.said.events = made.said.events[:1]
    made.remember("s1", "t1", Told(1))


def killed_with_an_unstored_ending(made: MadeUp) -> None:
    killed(made)
    made.said.events = [("chunk", "It is"), error("storage_unavailable"), outcome("completed")]
    made.said.events.append(("end", ""))


def repaired_with_its_booking(made: MadeUp) -> None:
    made.lose("t2")
    made.booked.events = BOOKED[:1]


def frozen_and_told_so(made: MadeUp) -> None:
    made.lose("t1")
    made.said.events[-2:] = [error("storage_unavailable"), outcome("failed"), ("end", "")]


def left_by_its_client(made: MadeUp) -> None:
    made.store("t1", outcome="disconnected")
    made.said.events = made.said.events[:1]


@pytest.mark.parametrize(
    "loss",
    [
        killed,
        killed_with_an_unstored_ending,
        repaired_with_its_booking,
        frozen_and_told_so,
        left_by_its_client,
    ],
)
def test_a_loss_that_is_promised_is_no_violation(loss: Harm) -> None:
    made = went_well()

    loss(made)

    assert {name_of(check): violations(made, check) for check in CHECKS} == {
        name_of(check): [] for check in CHECKS
    }


def test_a_check_counts_all_that_it_looked_at() -> None:
    made, verdicts = went_well(), dict[str, Verdict]()

    for session_id in ("s1", "s2"):
        del made.found.histories[session_id]
    judge(made.record, made.found, verdicts)

    assert verdicts["sessions stay"].looked_at == 5
    assert len(verdicts["sessions stay"].violations) == 2
