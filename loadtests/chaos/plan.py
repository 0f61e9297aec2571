"""The schedule of faults, which the seed determines completely."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle

ACT_SECONDS = 100.0
"""Approximate time of faults in an act, before everything is looked up and checked."""
SHORT_SECONDS = 30.0
SHARE = 0.6
"""Share of a run for faults. The rest is for the start, clients that finish, and checks."""

SECONDS = {
    "kill_worker": (0.0, 0.0),
    "freeze_worker": (10.0, 20.0),
    "reload": (2.0, 2.0),
    "reload_while_postgres_is_away": (12.0, 15.0),
    "kill_worker_while_postgres_is_away": (12.0, 15.0),
    "restart_postgres": (1.0, 5.0),
    "postgres_comes_back_slowly": (6.5, 9.5),
    "terminate_backends": (0.0, 0.0),
    "restart_redis": (0.5, 5.0),
    "reset_upstream": (1.0, 3.0),
    "cut_clients": (0.0, 0.0),
}
"""The shortest and longest duration of each type of fault. A worker needs some seconds to start
before it finds that Postgres is away. A connection to a hanging Postgres times out after 5 s, and
is tried again.
"""

CLOCK = "clock_ahead"
"""The last fault of a run, in a separate act, because it may delete what others check."""

SHORT = (
    "cut_clients",
    "kill_worker",
    "terminate_backends",
    "freeze_worker",
    "kill_worker_while_postgres_is_away",
    "postgres_comes_back_slowly",
)
"""Faults of a short run."""
SMOKE = ("cut_clients", "kill_worker")
"""Faults of a run that only shows that the tool works."""


@dataclass(frozen=True)
class Fault:
    kind: str
    seconds: float
    place: float
    """A number from 0 to 1 that selects the worker, or the variant."""
    pause_seconds: float
    """Pause before the next fault."""

    def __str__(self) -> str:
        lasting = f" for {self.seconds:.1f} s" if self.seconds else ""
        return f"{self.kind}{lasting}"


Act = tuple[Fault, ...]


def acts(seed: str, minutes: float) -> list[Act]:
    """Faults of all types in rounds, each in a random order, with the clock last.

    The run takes about so many minutes.
    """
    chance = random.Random(f"{seed} faults")
    seconds = SHARE * minutes * 60
    kinds = _kinds(seconds)
    planned = _within(seconds, _endless(kinds, chance), least=len(kinds))
    count = max(1, round(seconds / ACT_SECONDS))
    size = -(-len(planned) // count)
    ordinary = [tuple(planned[begin : begin + size]) for begin in range(0, len(planned), size)]
    return [*ordinary, (Fault(CLOCK, 10.0, chance.random(), 0.0),)]


def _kinds(seconds: float) -> tuple[str, ...]:
    if seconds >= ACT_SECONDS:
        return tuple(SECONDS)
    return SHORT if seconds >= SHORT_SECONDS else SMOKE


def _endless(kinds: tuple[str, ...], chance: random.Random) -> Iterator[Fault]:
    for _ in cycle([None]):
        for kind in chance.sample(kinds, len(kinds)):
            yield Fault(
                kind,
                seconds=round(chance.uniform(*SECONDS[kind]), 1),
                place=chance.random(),
                pause_seconds=round(chance.uniform(1.0, 5.0), 1),
            )


def _within(seconds: float, faults: Iterator[Fault], *, least: int) -> list[Fault]:
    """As many faults as fit, but at least `least`."""
    planned: list[Fault] = []
    for fault in faults:
        seconds -= fault.seconds + fault.pause_seconds
        if seconds < 0 and len(planned) >= least:
            break
        planned.append(fault)
    return planned
