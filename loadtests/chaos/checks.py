"""All checks of a run, and their verdicts.

A check yields one string for each thing that it examines: empty if it is right, or the problem.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from loadtests.chaos import bookings, service, told
from loadtests.chaos.found import Found
from loadtests.chaos.record import Record

Check = Callable[[Record, Found], Iterator[str]]

CHECKS: tuple[Check, ...] = (
    service.the_service_stays_up,
    service.sessions_stay,
    service.no_turn_runs_forever,
    service.no_session_is_held,
    told.streams_join,
    told.replays_are_what_was_streamed,
    told.outcomes_are_what_was_told,
    told.histories_are_what_was_streamed,
    bookings.a_slot_has_one_booking,
    bookings.confirmations_are_stored,
    bookings.bookings_are_known,
    bookings.lost_turns_book_nothing,
    told.keys_ask_once,
    service.stored_times_follow_the_database,
    service.upstream_calls_are_closed,
    service.descriptors_come_back,
    service.memory_comes_back,
)


@dataclass
class Verdict:
    """The verdict of one check over all acts."""

    looked_at: int = 0
    violations: list[str] = field(default_factory=list)


def name_of(check: Check) -> str:
    return str(getattr(check, "__name__", check)).replace("_", " ")


def judge(record: Record, found: Found, verdicts: dict[str, Verdict]) -> None:
    """Run all checks for one act, and add their results."""
    for check in CHECKS:
        verdict = verdicts.setdefault(name_of(check), Verdict())
        for problem in check(record, found):
            verdict.looked_at += 1
            if problem:
                verdict.violations.append(problem)
