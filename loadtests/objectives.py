"""Compares the statistics of a run with the objectives."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

FIRST_CHUNK = "first chunk"
"""The part of an entry's name after the scenario: `chat: first chunk`."""


@dataclass(frozen=True)
class Objectives:
    """By default 99.5 % of turns end well, and 99 % of first chunks arrive within 2 s."""

    failed_percent: float = 0.5
    first_chunk_seconds: float = 2.0
    first_chunk_percent: float = 99.0


@dataclass(frozen=True)
class Measured:
    """One entry of the statistics."""

    name: str
    requests: int
    failures: int
    slowest_seconds: float
    """The percentile of the objective, in seconds."""


def missed(
    entries: Iterable[Measured], objectives: Objectives, scripted: Mapping[str, float]
) -> list[str]:
    """A sentence for each missed objective.

    Each entry is judged separately, so many good chats do not hide bad bookings. `scripted` has the
    delay of each scenario's script before its first chunk.
    """
    measured = [entry for entry in entries if entry.requests]
    if not measured:
        return ["nothing was measured"]
    sentences = []
    for entry in measured:
        failed = 100 * entry.failures / entry.requests
        if failed > objectives.failed_percent:
            sentences.append(
                f"{entry.name}: {failed:.2f} % failed; the limit is {objectives.failed_percent:g} %"
            )
        scenario, _, what = entry.name.partition(": ")
        allowed = objectives.first_chunk_seconds + scripted.get(scenario, 0.0)
        if what == FIRST_CHUNK and entry.slowest_seconds > allowed:
            sentences.append(
                f"{entry.name}: {objectives.first_chunk_percent:g} % came within "
                f"{entry.slowest_seconds:.2f} s; the limit is {allowed:.2f} s"
            )
    return sentences
