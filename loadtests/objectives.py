"""What a run must have reached: its statistics against the objectives of the product."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

FIRST_CHUNK = "first chunk"
"""What follows the scenario in the name of an entry: `chat: first chunk`."""


@dataclass(frozen=True)
class Objectives:
    """By default the product's: 99.5 % of turns end well, 99 % of first chunks come within 2 s."""

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
    """Within which the share of the objective was."""


def missed(
    entries: Iterable[Measured], objectives: Objectives, scripted: Mapping[str, float]
) -> list[str]:
    """A sentence for each objective that was not met. `scripted` is what the script of a scenario
    takes to its first chunk by itself.

    Each entry is held to them by itself: many good chats do not make up for bad bookings.
    """
    measured = [entry for entry in entries if entry.requests]
    if not measured:
        return ["nothing was measured"]
    sentences = []
    for entry in measured:
        failed = 100 * entry.failures / entry.requests
        if failed > objectives.failed_percent:
            sentences.append(
                f"{entry.name}: {failed:.2f} % failed, {objectives.failed_percent:g} % may"
            )
        scenario, _, what = entry.name.partition(": ")
        allowed = objectives.first_chunk_seconds + scripted.get(scenario, 0.0)
        if what == FIRST_CHUNK and entry.slowest_seconds > allowed:
            sentences.append(
                f"{entry.name}: {objectives.first_chunk_percent:g} % came within "
                f"{entry.slowest_seconds:.2f} s, it may be {allowed:.2f} s"
            )
    return sentences
