"""When a run counts as good."""

from typing import Any

import pytest

from loadtests.bench.results import CROWDED
from tests.loadtests.bench.results import changed, results


def test_a_run_is_good_when_all_targets_are_reached() -> None:
    assert results().is_good


def test_one_missed_target_makes_it_bad() -> None:
    assert not results(changed("turn", 10.0, 10.0, 10.0)).is_good


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"failures": {"redis": 2}}, "2 streams failed on the side redis."),
        ({"client_busy": 0.9}, "The client took 90% of a core"),
        ({"standin_busy": 0.8}, "The stand-in took 80% of a core"),
        ({"windows": changed("tool round", -0.1, -0.2, 1.0)}, "CPU of a tool round, SQLite: below"),
    ],
)
def test_a_run_that_shows_nothing_is_bad_whatever_its_ratios_are(
    given: dict[str, Any], fault: str
) -> None:
    run = results(**given)

    assert [one for one in run.faults() if one.startswith(fault)]
    assert not run.is_good


def test_how_busy_client_and_stand_in_were_is_told() -> None:
    run = results(client_busy=0.25, standin_busy=0.5, client_waited=0.01)

    assert run.busy == (
        "At its busiest the client took 25% of a core and the stand-in 50%; "
        "the client waited for a core 1% of the time."
    )


def test_a_crowded_machine_is_named() -> None:
    assert results(client_waited=0.1).busy.endswith(f"10% of the time. {CROWDED}")
