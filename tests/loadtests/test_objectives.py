"""When a run misses an objective."""

from loadtests.objectives import Measured, Objectives, missed

OBJECTIVES = Objectives(failed_percent=0.5, first_chunk_seconds=2.0, first_chunk_percent=99.0)


def of(*entries: Measured, **scripted: float) -> list[str]:
    return missed(entries, OBJECTIVES, scripted)


def test_a_run_within_its_objectives_misses_nothing() -> None:
    stream = Measured("chat: stream", requests=1000, failures=5, slowest_seconds=60.0)
    first = Measured("chat: first chunk", requests=1000, failures=0, slowest_seconds=2.0)

    assert of(stream, first) == []


def test_one_failure_too_many_is_a_miss() -> None:
    stream = Measured("chat: stream", requests=1000, failures=6, slowest_seconds=1.0)

    assert of(stream) == ["chat: stream: 0.60 % failed; the limit is 0.5 %"]


def test_a_bad_entry_is_not_made_up_for_by_a_good_one() -> None:
    good = Measured("chat: stream", requests=100_000, failures=0, slowest_seconds=1.0)
    bad = Measured("rate limit: count", requests=3, failures=1, slowest_seconds=1.0)

    assert of(good, bad) == ["rate limit: count: 33.33 % failed; the limit is 0.5 %"]


def test_a_first_chunk_may_take_what_the_script_takes_and_no_more_than_the_objective() -> None:
    first = Measured("hold: first chunk", requests=10, failures=0, slowest_seconds=3.0)

    assert of(first, hold=1.0) == []
    assert of(first, hold=0.5) == [
        "hold: first chunk: 99 % came within 3.00 s; the limit is 2.50 s"
    ]


def test_a_run_that_measured_nothing_misses_everything() -> None:
    assert of() == ["nothing was measured"]
    assert of(Measured("chat: stream", 0, 0, 0.0)) == ["nothing was measured"]
