"""Checks of everything that was streamed: it is complete, and the stored data agrees."""

from collections.abc import Iterator, Sequence
from itertools import zip_longest

from loadtests.chaos.found import Found, StoredTurn, Told
from loadtests.chaos.record import LOST, NOT_STORED, Event, Reading, Record


def streams_join(record: Record, _found: Found) -> Iterator[str]:
    """No event is missing or repeated over all connections of a reader."""
    for reading in record.readings:
        yield f"turn {reading.turn_id}: {'; '.join(reading.problems)}" if reading.problems else ""


def replays_are_what_was_streamed(record: Record, found: Found) -> Iterator[str]:
    for reading, turn in _stored(record, found):
        replay = found.replays.get(reading.turn_id)
        if replay is not None and reading.is_whole and turn.error_code != LOST:
            is_same = list(replay) == reading.events
            why = f"{_parting(reading.events, replay)} ({_ending(reading, turn)})"
            yield "" if is_same else f"turn {reading.turn_id}: {why}"


def _parting(read: Sequence[Event], replayed: Sequence[Event]) -> str:
    """The first difference of two streams."""
    for number, (one, other) in enumerate(zip_longest(read, replayed), start=1):
        if one != other:
            return f"event {number} was {one} and is replayed as {other}"
    return ""


def outcomes_are_what_was_told(record: Record, found: Found) -> Iterator[str]:
    """The stored outcome is the streamed one, and a turn that ended without an error is stored."""
    for reading, turn in _stored(record, found):
        stored = LOST if turn.error_code == LOST else turn.outcome
        if reading.is_told_lost:
            yield "" if stored == LOST else f"turn {reading.turn_id}: told as lost, stored {stored}"
        elif reading.is_whole and stored != LOST:
            is_same = reading.told == stored
            yield "" if is_same else f"turn {reading.turn_id}: told {reading.told}, stored {stored}"
        elif reading.is_whole:
            yield "" if reading.errors else f"turn {reading.turn_id}: told {reading.told}, lost"


def histories_are_what_was_streamed(record: Record, found: Found) -> Iterator[str]:
    """The history has what was streamed. The part of a cut stream is its beginning."""
    for reading, turn in _stored(record, found):
        history = found.histories.get(reading.session_id)
        if history is None:
            continue
        told = history.get(reading.turn_id, Told())
        if turn.error_code == LOST:
            problem = "" if told.questions else "its question is missing"
        else:
            problem = _difference(reading, told)
        yield f"turn {reading.turn_id} ({_ending(reading, turn)}): {problem}" if problem else ""


def _difference(reading: Reading, told: Told) -> str:
    if told.questions != 1:
        return f"its question is stored {told.questions} times"
    if reading.text and not told.text:
        return "its text was shown, and is missing"
    if reading.text != (told.text if reading.is_whole else told.text[: len(reading.text)]):
        return f"its text was {reading.text!r} and is stored as {told.text!r}"
    if not reading.outputs.items() <= told.outputs.items():
        return "an output was shown, and is missing"
    if reading.is_whole and reading.calls.keys() != told.calls.keys():
        return "its tool calls differ"
    return "" if told.calls.keys() == told.outputs.keys() else "a tool call has no output"


def _ending(reading: Reading, turn: StoredTurn) -> str:
    shown = "read to its end" if reading.is_whole else "cut"
    storage = ", told as not stored" if NOT_STORED in reading.errors else ""
    return f"{turn.outcome}, {shown}{storage}"


def keys_ask_once(record: Record, found: Found) -> Iterator[str]:
    """One key starts one turn. If its turn has vanished, it may start another one."""
    for (session_id, key), turns in record.keys.items():
        is_once = len(turns) == 1 or not turns <= found.turns.keys()
        yield "" if is_once else f"key {key} of session {session_id} began {sorted(turns)}"


def _stored(record: Record, found: Found) -> Iterator[tuple[Reading, StoredTurn]]:
    """Readings of turns that still exist. Another check reports vanished turns."""
    for reading in record.readings:
        turn = found.turns.get(reading.turn_id)
        if turn is not None and turn.outcome is not None:
            yield reading, turn
