"""Checks of the service: it stays up, loses nothing, and releases its resources."""

from collections.abc import Iterator

from loadtests.chaos.found import CLOCKS_DIFFER, Found
from loadtests.chaos.record import Record

MORE_DESCRIPTORS = 24
"""Additional descriptors that a worker may have at the end, for kept connections to its database,
to Redis and to the upstream.
"""
MORE_MEMORY_BYTES = 64 * 2**20
"""Additional memory that a worker may have at the end, for caches and the allocator."""


def the_service_stays_up(_record: Record, found: Found) -> Iterator[str]:
    """A worker that starts without a database must not end the others."""
    yield from found.halts or [""]


def sessions_stay(record: Record, found: Found) -> Iterator[str]:
    """Check sessions and turns. A lost session may exist again, without its turns."""
    for session_id in sorted(record.sessions | record.earlier):
        is_there = session_id in found.histories
        yield "" if is_there else f"session {session_id} was created, and does not exist"
    for turn_id in sorted(record.turns):
        yield "" if turn_id in found.turns else f"turn {turn_id} was started, and does not exist"


def no_turn_runs_forever(record: Record, found: Found) -> Iterator[str]:
    for turn_id in set(found.running_turns) - record.turns - record.stuck:
        yield f"turn {turn_id} has no outcome in the database, and no worker runs it"
    for turn_id, turn in found.turns.items():
        yield "" if turn.outcome else f"GET /turns/{turn_id} says that it is running"


def no_session_is_held(_record: Record, found: Found) -> Iterator[str]:
    for session_id, why in found.held.items():
        yield f"session {session_id} accepts no query: {why}" if why else ""


def stored_times_follow_the_database(_record: Record, found: Found) -> Iterator[str]:
    for turn_id, turn in found.turns.items():
        times = [time for time in (turn.started_at, turn.finished_at) if time is not None]
        begin, end = found.began_at - CLOCKS_DIFFER, found.ended_at + CLOCKS_DIFFER
        is_within = all(begin <= time <= end for time in times)
        yield "" if is_within else f"turn {turn_id} has the wrong time {turn.started_at}"


def upstream_calls_are_closed(_record: Record, found: Found) -> Iterator[str]:
    count = found.open_upstream
    yield f"{count} completions are still sent without a reader" if count else ""


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
