"""Long runs: `make bench-long`.

Measures whether memory grows with the number of turns, and whether a turn in a long session costs
more CPU than in a short one with as many tokens.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import uvloop

from loadtests.bench.dialects import answers
from loadtests.bench.measures import WORD
from loadtests.bench.servers import lex, standin
from loadtests.bench.sides import Side

EARLY, LATE = 1000, 50_000

HISTORY = {"HISTORY_TOKENS": "2000"}
"""Small, so that a session of ten turns sends as many tokens as one of a thousand."""


async def memory(side: Side, *, turns: int) -> list[tuple[int, float]]:
    """Resident megabytes after so many turns, each in a new session."""
    seen: list[tuple[int, float]] = []
    done = 0
    for goal in (EARLY, *(turns * tenth // 10 for tenth in range(1, 11))):
        while done < goal:
            await side.burst(WORD, streams=250, starts_per_second=60)
            done += 250
        seen.append((done, side.server.memory_bytes / 1e6))
        print(f"{done:>7} turns {seen[-1][1]:8.1f} MB", flush=True)
    return seen


async def session(side: Side, *, turns: int) -> tuple[float, float]:
    """Milliseconds of CPU a turn, for turns 10 to 110 of a session and for its last hundred."""
    costs: list[float] = []
    query = answers(200, tokens_per_second=10_000)
    for number in range(turns):
        begun = side.server.cpu_seconds
        side.note([await side.client.ask(query, session_id="one")])
        costs.append(1e3 * (side.server.cpu_seconds - begun))
        if number % 100 == 99:
            print(f"turn {number + 1}: {statistics.mean(costs[-100:]):.2f} ms", flush=True)
    return statistics.mean(costs[10:110]), statistics.mean(costs[-100:])


async def measure(side: Side, *, turns: int, session_turns: int) -> bool:
    early, late = await session(side, turns=session_turns)
    print(f"a turn in a session of {session_turns}: {early:.2f} ms at first, {late:.2f} ms at last")
    seen = await memory(side, turns=turns)
    grown = seen[-1][1] / seen[0][1] - 1
    print(f"memory after {seen[-1][0]} turns: {grown:+.1%} compared with {EARLY} turns")
    print(f"{len(side.failures)} turns failed", *side.failures[:3])
    return late <= 1.1 * early and grown <= 0.1 and not side.failures


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench.long")
    parser.add_argument("--turns", type=int, default=LATE)
    parser.add_argument("--session-turns", type=int, default=1000)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as scratch,
        standin() as upstream,
        lex(upstream.url, Path(scratch, "lex"), variables=HISTORY) as server,
    ):
        side = Side.of("sqlite", server)
        is_good = uvloop.run(measure(side, turns=given.turns, session_turns=given.session_turns))
    sys.exit(not is_good)


if __name__ == "__main__":
    main()
