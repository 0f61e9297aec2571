"""The load curves of a run: the share of users over the share of time."""

from loadtests.curves import ramp, soak, spike

TIMES = [number / 100 for number in range(100)]


def test_a_ramp_climbs_in_five_steps_to_all() -> None:
    climbed = [ramp(time) for time in TIMES]

    assert climbed == sorted(climbed)
    assert sorted(set(climbed)) == [0.2, 0.4, 0.6, 0.8, 1.0]


def test_a_spike_is_a_third_of_the_run_and_ten_times_the_rest() -> None:
    peak = [time for time in TIMES if spike(time) == 1.0]

    assert (peak[0], peak[-1], len(peak)) == (0.34, 0.66, 33)
    assert {spike(time) for time in TIMES} == {0.1, 1.0}


def test_a_soak_goes_up_and_down_between_sixty_percent_and_all() -> None:
    users = [soak(time) for time in TIMES]

    assert round(min(users), 2) == 0.6
    assert round(max(users), 2) == 1.0
    assert round(users[0], 2) == 0.6
