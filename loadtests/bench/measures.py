"""What is measured of a server, one window at a time.

A window puts the same load on each side in turn, so what else the machine does meets all of them.
Processor time is the server's own, as the kernel counts it; times are the client's.
"""

import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from loadtests.bench.client import Client, Stream, answers, failures, looks_up_then_answers
from loadtests.bench.processes import Server

QUICK = 300.0
"""Tokens a second of a stream: Groq's pace."""

SHORT, LONG = 300, 1500


@dataclass
class Side:
    """One server, and what went wrong with its streams."""

    name: str
    server: Server
    client: Client
    failures: list[str] = field(default_factory=list)

    async def streams(
        self, script: Mapping[str, Any], *, streams: int, starts_per_second: float
    ) -> list[Stream]:
        got = await self.client.burst(
            dict(script), streams=streams, starts_per_second=starts_per_second
        )
        self.failures += failures(got)
        return got

    async def cpu_seconds(
        self, script: Mapping[str, Any], *, streams: int, starts_per_second: float = 100
    ) -> float:
        """Of one stream."""
        begun = self.server.cpu_seconds
        await self.streams(script, streams=streams, starts_per_second=starts_per_second)
        return (self.server.cpu_seconds - begun) / streams


Measure = Callable[[Side], Awaitable[float]]


async def token_us(side: Side) -> float:
    """CPU of a token: the slope between short and long answers, 100 at once."""
    short = await side.cpu_seconds(answers(SHORT, tokens_per_second=QUICK), streams=100)
    long = await side.cpu_seconds(answers(LONG, tokens_per_second=QUICK), streams=100)
    return 1e6 * (long - short) / (LONG - SHORT)


async def stream_us(side: Side) -> float:
    """CPU of a token of a whole stream: 100 tokens at 100 a second, 100 at once."""
    return 1e6 * await side.cpu_seconds(answers(100, tokens_per_second=100), streams=100) / 100


async def turn_ms(side: Side) -> float:
    """CPU of a turn that says one word."""
    script = answers(1, tokens_per_second=QUICK)
    return 1e3 * await side.cpu_seconds(script, streams=250, starts_per_second=50)


async def tool_round_ms(side: Side) -> float:
    """What a tool call and the completion behind it add to the CPU of a turn."""
    script = looks_up_then_answers(1, tokens_per_second=QUICK)
    return 1e3 * await side.cpu_seconds(script, streams=250, starts_per_second=50)


async def first_chunk_alone_ms(side: Side) -> float:
    """Median, one stream after the other."""
    script = answers(1, tokens_per_second=QUICK)
    got = [await side.client.ask(dict(script)) for _ in range(50)]
    side.failures += failures(got)
    return 1e3 * statistics.median(stream.first_chunk_seconds for stream in got)


async def first_chunk_busy_ms(side: Side) -> float:
    """99th percentile, while 50 streams start each second and as many run."""
    script = answers(100, tokens_per_second=100)
    got = await side.streams(script, streams=400, starts_per_second=50)
    return 1e3 * p99([stream.first_chunk_seconds for stream in got if stream.chunk_times])


async def gap_ms(side: Side) -> float:
    """99th percentile between two chunks, 100 streams of 100 tokens a second."""
    got = await side.streams(
        answers(500, tokens_per_second=100), streams=100, starts_per_second=100
    )
    return 1e3 * p99([later - earlier for stream in got for earlier, later in stream.steps])


def p99(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


@dataclass
class Busy:
    """How much of a core each took that is not measured, at the most of one window."""

    client: float = 0.0
    standin: float = 0.0

    def note(self, *, client: float, standin: float) -> None:
        self.client, self.standin = max(self.client, client), max(self.standin, standin)


async def windows(
    measure: Measure, sides: Sequence[Side], *, standin: Server, busy: Busy, times: int
) -> dict[str, list[float]]:
    """So many windows of each side, by turns; who goes first alternates."""
    found: dict[str, list[float]] = {side.name: [] for side in sides}
    for number in range(times):
        for side in sides if number % 2 else reversed(sides):
            begun, ours, theirs = time.perf_counter(), time.process_time(), standin.cpu_seconds
            value = await measure(side)
            seconds = time.perf_counter() - begun
            if side.server is not standin:
                busy.note(
                    client=(time.process_time() - ours) / seconds,
                    standin=(standin.cpu_seconds - theirs) / seconds,
                )
            found[side.name].append(value)
            print(f"{measure.__name__:<22} {side.name:<12} {value:10.2f}", flush=True)
    return found
