"""Planted faults, by the check that must notice them."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from loadtests.chaos import bookings, service, told
from loadtests.chaos.checks import Check
from loadtests.chaos.found import Booked, Levels, Told
from loadtests.chaos.record import Reading
from tests.loadtests.chaos.acts import BOOKED, CALL, CONFIRMATION, NOON, SLOT, MadeUp, error, take

Harm = Callable[[MadeUp], None]
HARMS: list[tuple[Check, Harm]] = []

KNOWN = Told(1, "Book.", "Booked.", {"call_1": CALL}, {"call_1": CONFIRMATION})


def noticed_by(check: Check) -> Callable[[Harm], Harm]:
    def remember(harm: Harm) -> Harm:
        HARMS.append((check, harm))
        return harm

    return remember


@noticed_by(service.the_service_stays_up)
def gunicorn_gives_up(made: MadeUp) -> None:
    made.found.halts = ["gunicorn of a ended with code 3"]


@noticed_by(service.sessions_stay)
def a_session_vanishes(made: MadeUp) -> None:
    del made.found.histories["s1"]


@noticed_by(service.sessions_stay)
def a_session_is_made_again_without_its_turns(made: MadeUp) -> None:
    del made.found.turns["t1"]


@noticed_by(service.sessions_stay)
def a_session_of_an_earlier_act_vanishes(made: MadeUp) -> None:
    del made.found.histories["s0"]


@noticed_by(service.no_turn_runs_forever)
def a_turn_says_that_it_is_running(made: MadeUp) -> None:
    made.store("t1", outcome=None)


@noticed_by(service.no_turn_runs_forever)
def a_turn_that_nobody_knows_is_running(made: MadeUp) -> None:
    made.found.running_turns = ["t9"]


@noticed_by(service.no_session_is_held)
def a_session_is_busy(made: MadeUp) -> None:
    made.found.held["s1"] = "409 session_busy"


@noticed_by(told.streams_join)
def an_event_is_missing(made: MadeUp) -> None:
    made.said.problems.append("chunk t1-3 came behind t1-1")


@noticed_by(told.replays_are_what_was_streamed)
def a_replay_is_another_stream(made: MadeUp) -> None:
    made.found.replays["t1"] = [("chunk", "It was sunny.")]


@noticed_by(told.outcomes_are_what_was_told)
def a_completed_turn_is_stored_as_failed(made: MadeUp) -> None:
    made.store("t1", outcome="failed")


@noticed_by(told.outcomes_are_what_was_told)
def a_completed_turn_is_stored_as_lost(made: MadeUp) -> None:
    made.lose("t1")


@noticed_by(told.outcomes_are_what_was_told)
def a_completed_turn_is_told_as_lost(made: MadeUp) -> None:
    made.said.events = [error("worker_lost"), ("end", "")]


@noticed_by(told.histories_are_what_was_streamed)
def an_ending_is_replaced_by_a_bare_one(made: MadeUp) -> None:
    made.said.events.insert(2, error("storage_unavailable"))
    made.remember("s1", "t1", Told(1))


@noticed_by(told.histories_are_what_was_streamed)
def a_stream_that_was_cut_began_otherwise(made: MadeUp) -> None:
    made.said.events = [("chunk", "It was")]


@noticed_by(told.histories_are_what_was_streamed)
def a_question_is_missing(made: MadeUp) -> None:
    made.remember("s1", "t1", None)


@noticed_by(told.histories_are_what_was_streamed)
def the_question_of_a_lost_turn_is_missing(made: MadeUp) -> None:
    made.lose("t1")
    made.remember("s1", "t1", None)


@noticed_by(told.histories_are_what_was_streamed)
def a_question_was_stored_twice(made: MadeUp) -> None:
    made.remember("s1", "t1", Told(2, text="It is sunny."))


@noticed_by(told.histories_are_what_was_streamed)
def an_output_is_missing(made: MadeUp) -> None:
    made.remember("s2", "t2", replace(KNOWN, outputs={}))


@noticed_by(told.histories_are_what_was_streamed)
def a_call_is_missing(made: MadeUp) -> None:
    made.remember("s2", "t2", replace(KNOWN, calls={}))


@noticed_by(told.histories_are_what_was_streamed)
def a_call_of_a_stream_that_was_cut_has_no_output(made: MadeUp) -> None:
    made.booked.events = BOOKED[:1]
    made.remember("s2", "t2", replace(KNOWN, outputs={}))


@noticed_by(bookings.a_slot_has_one_booking)
def two_customers_have_one_slot(made: MadeUp) -> None:
    confirmed = {"id": "call_2", "output": {**CONFIRMATION, "user_id": "u2"}}
    take(
        made.record.begin(Reading("t3", "s3")),
        [("tool_output", json.dumps({"name": CALL["name"], **confirmed}))],
    )


@noticed_by(bookings.confirmations_are_stored)
def a_confirmed_test_drive_is_not_booked(made: MadeUp) -> None:
    made.found.bookings = []


@noticed_by(bookings.confirmations_are_stored)
def another_slot_is_booked_than_was_confirmed(made: MadeUp) -> None:
    made.found.bookings = [Booked("c1", "u1", replace(SLOT, time="11:00"), NOON)]


@noticed_by(bookings.bookings_are_known)
def a_worker_is_killed_between_booking_and_ending(made: MadeUp) -> None:
    made.lose("t2")
    made.booked.events = BOOKED[:2]
    made.remember("s2", "t2", Told(1))


@noticed_by(bookings.lost_turns_book_nothing)
def a_frozen_worker_wakes_and_books(made: MadeUp) -> None:
    made.lose("t2")
    made.found.bookings = [Booked("c1", "u1", SLOT, NOON + timedelta(seconds=9))]


@noticed_by(bookings.lost_turns_book_nothing)
def a_frozen_worker_books_for_a_turn_that_its_client_never_knew(made: MadeUp) -> None:
    a_frozen_worker_wakes_and_books(made)
    made.record.attempts["u1"].turn_id = None
    made.remember("s2", "t2", Told(1, 'Book for "u1"'))


@noticed_by(told.keys_ask_once)
def a_repeated_question_is_asked_again(made: MadeUp) -> None:
    made.record.keys["s1", "key"].add("t2")


@noticed_by(service.stored_times_follow_the_database)
def a_turn_is_dated_by_a_clock_that_is_ahead(made: MadeUp) -> None:
    made.store("t1", finished_at=NOON + timedelta(days=40))


@noticed_by(service.upstream_calls_are_closed)
def a_completion_is_read_by_nobody(made: MadeUp) -> None:
    made.found.open_upstream = 1


@noticed_by(service.descriptors_come_back)
def descriptors_leak(made: MadeUp) -> None:
    made.found.after = Levels(500, 100 * 2**20)


@noticed_by(service.memory_comes_back)
def memory_leaks(made: MadeUp) -> None:
    made.found.after = Levels(50, 500 * 2**20)
