"""The report of a run, and the history that it is written from."""

from loadtests.chaos.finding import history
from loadtests.chaos.found import Told
from loadtests.chaos.report import SHOWN, Report
from tests.loadtests.chaos.acts import CALL, CONFIRMATION, went_well


def test_a_run_that_went_well_is_good_and_counted() -> None:
    made, report = went_well(), Report()

    report.add(made.record, made.found)

    text = "\n".join(report.lines())
    assert report.is_good
    assert "2 turns in 2 sessions, 9 events" in text
    assert "outcomes:  2 completed" in text
    assert "VIOLATIONS" not in text


def test_a_run_that_saw_nothing_is_not_good() -> None:
    assert not Report().is_good


def test_violations_of_all_acts_are_counted_and_the_first_are_shown() -> None:
    report = Report()

    for _ in range(2):
        made = went_well()
        made.found.halts = [f"halt {number}" for number in range(SHOWN)]
        report.add(made.record, made.found)

    lines = list(report.lines())
    assert report.violations == 2 * SHOWN
    assert sum(line.startswith("  halt") for line in lines) == SHOWN
    assert f"  … and {SHOWN} more" in lines


def test_the_messages_of_a_session_are_told_by_turn() -> None:
    asked = {"role": "user", "content": "Book."}
    called = {"role": "assistant", "content": "", "tool_calls": [CALL]}
    output = {"role": "tool", "tool_call_id": "call_1", "output": CONFIRMATION}
    said = {"role": "assistant", "content": "Booked."}
    first = [{**each, "turn_id": "t1"} for each in (asked, called, output, said)]

    told = history([*first, {"role": "user", "content": "Hello", "turn_id": "t2"}])

    assert told == {
        "t1": Told(1, "Book.", "Booked.", {"call_1": CALL}, {"call_1": CONFIRMATION}),
        "t2": Told(1, "Hello"),
    }
