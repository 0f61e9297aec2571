"""Checks of the service itself: it stays up, loses nothing, and holds nothing forever."""

from collections.abc import Iterator

from loadtests.chaos.found import CLOCKS_DIFFER, Found
from loadtests.chaos.record import Record

MORE_DESCRIPTORS = 24
"""That a worker may have at the end: connections that it keeps to its database, to Redis and to
the upstream.
"""
MORE_MEMORY_BYTES = 64 * 2**20
"""That a worker may have at the end: caches, and pages that the allocator keeps."""


def the_service_stays_up(_record: Record, found: Found) -> Iterator[str]:
    """A worker that cannot reach the database at its start must not end the others."""
    yield from found.halts or [""]


def sessions_stay(record: Record, found: Found) -> Iterator[str]:
    """One that vanishes may be made again by its next question: then its turns are missing."""
    for session_id in sorted(record.sessions | record.earlier):
        is_there = session_id in found.histories
        yield "" if is_there else f"session {session_id} was made, and does not exist"
    for turn_id in sorted(record.turns):
        yield "" if turn_id in found.turns else f"turn {turn_id} was begun, and does not exist"


def no_turn_runs_for_ever(record: Record, found: Found) -> Iterator[str]:
    for turn_id in set(found.running_turns) - record.turns - record.stuck:
        yield f"turn {turn_id} has no outcome in the store, and nobody runs it"
    for turn_id, turn in found.turns.items():
        yield "" if turn.outcome else f"GET /turns/{turn_id} says that it is running"


def no_session_is_held(_record: Record, found: Found) -> Iterator[str]:
    for session_id, why in found.held.items():
        yield f"session {session_id} takes no query: {why}" if why else ""


def stored_times_are_the_databases(_record: Record, found: Found) -> Iterator[str]:
    for turn_id, turn in found.turns.items():
        times = [time for time in (turn.started_at, turn.finished_at) if time is not None]
        begin, end = found.began_at - CLOCKS_DIFFER, found.ended_at + CLOCKS_DIFFER
        is_within = all(begin <= time <= end for time in times)
        yield "" if is_within else f"turn {turn_id} is said to be of {turn.started_at}"


def upstream_calls_are_closed(_record: Record, found: Found) -> Iterator[str]:
    count = found.open_upstream
    yield f"{count} completions are still being played to nobody" if count else ""


def descriptors_come_back(_record: Record, found: Found) -> Iterator[str]:
    if found.before and found.after:
        before, after = found.before.descriptors, found.after.descriptors
        is_back = after <= before + MORE_DESCRIPTORS
        yield "" if is_back else f"a worker has {after} descriptors, and had {before}"


def memory_comes_back(_record: Record, found: Found) -> Iterator[str]:
    if found.before and found.after:
        before, after = found.before.memory_bytes, found.after.memory_bytes
        is_back = after <= before + MORE_MEMORY_BYTES
        why = f"a worker has {after / 2**20:.0f} MB, and had {before / 2**20:.0f}"
        yield "" if is_back else why
