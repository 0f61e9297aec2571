"""Checks of test drives: confirmed once, stored, and in the history of their session."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime

from loadtests.chaos.found import CLOCKS_DIFFER, Found, StoredTurn, Told
from loadtests.chaos.record import LOST, Attempt, Record, Slot


def a_slot_has_one_booking(record: Record, _found: Found) -> Iterator[str]:
    """Compare the confirmations that customers saw."""
    users: dict[Slot, set[str]] = defaultdict(set)
    for user_id, slot, _ in _confirmed(record):
        users[slot].add(user_id)
    for slot, several in users.items():
        yield "" if len(several) == 1 else f"{slot} was confirmed to {sorted(several)}"


def confirmations_are_stored(record: Record, found: Found) -> Iterator[str]:
    stored = {(each.user_id, each.slot, each.confirmation_id) for each in found.bookings}
    for confirmed in _confirmed(record):
        yield "" if confirmed in stored else f"{confirmed} was confirmed and is not booked"


def bookings_are_known(record: Record, found: Found) -> Iterator[str]:
    """The history of a session must contain each booking, for its next turn."""
    for booked in found.bookings:
        attempt = record.attempts.get(booked.user_id)
        history = found.histories.get(attempt.session_id) if attempt else None
        if history is not None and attempt and not _has_vanished(attempt, found):
            is_known = any(_has(told, booked.confirmation_id) for told in history.values())
            why = f"{booked.confirmation_id} of {booked.user_id} is in no history"
            yield "" if is_known else why


def _has_vanished(attempt: Attempt, found: Found) -> bool:
    return attempt.turn_id is not None and attempt.turn_id not in found.turns


def lost_turns_book_nothing(record: Record, found: Found) -> Iterator[str]:
    """A frozen worker may wake after another one took over its session. It must not book then."""
    booked_at = {booked.user_id: booked.booked_at for booked in found.bookings}
    for user_id, attempt in record.attempts.items():
        turn_id = _turn_of(attempt, found)
        turn = found.turns.get(turn_id)
        if turn is not None and turn.error_code == LOST:
            is_late = user_id in booked_at and _is_late(booked_at[user_id], turn)
            yield f"turn {turn_id} was lost, and booked for {user_id} later" if is_late else ""


def _turn_of(attempt: Attempt, found: Found) -> str:
    """The turn of an attempt. If its client does not know it, its question names the user."""
    history = found.histories.get(attempt.session_id, {})
    by_question = (id_ for id_, told in history.items() if f'"{attempt.user_id}"' in told.asked)
    return attempt.turn_id or next(by_question, "")


def _is_late(booked_at: datetime, turn: StoredTurn) -> bool:
    return turn.finished_at is not None and booked_at > turn.finished_at + CLOCKS_DIFFER


def _confirmed(record: Record) -> Iterator[tuple[str, Slot, str]]:
    for reading in record.readings:
        for output in reading.outputs.values():
            if "confirmation_id" in output:
                slot = Slot(output["dealership_id"], output["date"], output["time"])
                yield output["user_id"], slot, output["confirmation_id"]


def _has(told: Told, confirmation_id: str) -> bool:
    return any(output.get("confirmation_id") == confirmation_id for output in told.outputs.values())
