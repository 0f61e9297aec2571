"""The measures of a server, one slice at a time.

CPU is the server's own, as the kernel counts it; times are the client's. Clients ask in a closed
loop: a fixed number of them, each asking again after its answer. So a slow machine gets fewer
queries, and no queue grows that would describe the machine instead of the server.
"""

import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from loadtests.bench.dialects import Script, answers, looks_up_then_answers
from loadtests.bench.forms import Form
from loadtests.bench.sides import NGINX, OBVIOUS, Side

PACE = 300.0
"""Tokens a second of Groq's larger models."""

WORD = answers(1, tokens_per_second=PACE)
WORD_AFTER_A_TOOL = looks_up_then_answers(1, tokens_per_second=PACE)

HELD = answers(60, tokens_per_second=0.1)
"""Ten minutes, longer than a run holds streams. The client leaves before the end."""

HELD_STREAMS = 15
"""Streams that are added in each window. With FILLING_STREAMS, which fill the memory that is free
at first, five windows stay below 100: the SDK of the obvious service opens at most 100 connections.
"""
FILLING_STREAMS = 24

A_FEW = 8
"""Concurrent turns: every server is busy, and none is overloaded."""

MANY = 32
"""Concurrent turns that fill a core, so no server can start more turns a second."""

BURSTS = 3

TOKEN_STREAMS = 50
"""Concurrent streams: 15,000 tokens a second, which fill no core. With a full core, reads
become rarer and longer, and a token seems cheaper than it is.
"""

Figures = dict[str, float]
"""The figures of one side, by measure."""


@dataclass(frozen=True)
class Probe:
    """Measures a side for one slice. `yardstick` is the side that the others are compared with."""

    title: str
    take: Callable[[Side, Form], Awaitable[Figures]]
    yardstick: str = OBVIOUS
    times: int = 1
    """Repetitions in each slice. With many short ones, all sides meet the same load."""


async def turns(side: Side, form: Form) -> Figures:
    """Milliseconds of CPU of a turn with one word, and of an additional tool round."""
    turn = await _turn_ms(side, WORD, form)
    if not side.has_tools:
        return {"turn": turn}
    return {"turn": turn, "tool round": await _turn_ms(side, WORD_AFTER_A_TOOL, form) - turn}


async def _turn_ms(side: Side, script: Script, form: Form) -> float:
    begun = side.server.cpu_seconds
    got = await side.keep_asking(script, at_once=A_FEW, seconds=form.seconds / 2)
    return 1e3 * (side.server.cpu_seconds - begun) / len(got)


async def tokens(side: Side, form: Form) -> Figures:
    """Microseconds of CPU of one token: the slope between short and long answers."""
    short = await _stream_seconds(side, form.short_tokens)
    long = await _stream_seconds(side, form.long_tokens)
    return {"token": 1e6 * (long - short) / (form.long_tokens - form.short_tokens)}


async def _stream_seconds(side: Side, tokens: int) -> float:
    begun = side.server.cpu_seconds
    script = answers(tokens, tokens_per_second=PACE)
    await side.burst(script, streams=TOKEN_STREAMS, starts_per_second=1000)
    return (side.server.cpu_seconds - begun) / TOKEN_STREAMS


async def first_chunk(side: Side, form: Form) -> Figures:
    """Milliseconds to the first chunk: the median of consecutive turns."""
    got = [await side.client.ask(WORD) for _ in range(form.alone)]
    side.note(got)
    times = [stream.first_chunk_seconds for stream in got if stream.chunk_times]
    return {"first chunk": 1e3 * statistics.median(times)}


async def starts(side: Side, form: Form) -> Figures:
    """The highest number of turns a second of three bursts that overload the server.

    The maximum, because other load on the machine can only make a burst slower.
    """
    return {"starts": max([await _starts(side, form.seconds / 2) for _ in range(BURSTS)])}


async def _starts(side: Side, seconds: float) -> float:
    """Turns a second: all started turns, divided by the time until the last one has ended."""
    got = await side.keep_asking(WORD, at_once=MANY, seconds=seconds)
    taken = max(stream.ended_at for stream in got) - min(stream.asked_at for stream in got)
    return sum(stream.is_whole for stream in got) / taken


async def memory(side: Side, _form: Form) -> Figures:
    """Kilobytes by which a server grows for each additional open stream.

    A process keeps memory that it has used once, so this needs a fresh server.
    """
    if not side.held:
        await side.hold(HELD, streams=FILLING_STREAMS, at_once=A_FEW)
    before = side.server.memory_bytes
    await side.hold(HELD, streams=HELD_STREAMS, at_once=A_FEW)
    return {"memory": (side.server.memory_bytes - before) / HELD_STREAMS / 1e3}


async def streams(side: Side, _form: Form) -> Figures:
    """Milliseconds of CPU of a stream of 100 tokens at 100 a second, with 100 streams at once."""
    begun = side.server.cpu_seconds
    script = answers(100, tokens_per_second=100)
    await side.burst(script, streams=100, starts_per_second=100)
    return {"stream": 1e3 * (side.server.cpu_seconds - begun) / 100}


TURNS = Probe("turns and tool rounds", turns, times=3)
TOKENS = Probe("tokens", tokens, yardstick=NGINX)
FIRST_CHUNK = Probe("first chunk", first_chunk)
STARTS = Probe("starts", starts)
MEMORY = Probe("memory", memory)
STREAMS = Probe("streams", streams)


async def warm_up(sides: Sequence[Side]) -> None:
    """Load imports, fill caches, open connections."""
    for side in sides:
        for script in (WORD, WORD_AFTER_A_TOOL) if side.has_tools else (WORD,):
            await side.keep_asking(script, at_once=A_FEW, seconds=0.3)
