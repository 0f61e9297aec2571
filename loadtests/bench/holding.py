"""Many streams held open at once: whether they stay, what each takes, how even they are."""

import asyncio
import time
from dataclasses import dataclass

from loadtests.bench.client import answers
from loadtests.bench.measures import Side, p99

STARTS_PER_SECOND = 50
SETTLING_SECONDS = 5.0
TOKENS_PER_SECOND = 0.1

PACED_STREAMS = 1000
PACED_TOKENS_PER_SECOND = 5.0


@dataclass(frozen=True)
class Held:
    """`streams` at once, a token every ten seconds each, and heartbeats."""

    streams: int
    failed: int
    stream_kb: float
    first_chunk_p50_ms: float
    cpu_share: float
    """Of a core, once all of them were open."""
    late_p99_ms: float
    """By how much the pause between two chunks exceeded the pace, with 1,000 streams of five
    tokens a second.
    """
    late_failed: int


async def hold(side: Side, *, streams: int) -> Held:
    # A client that is busy falls a little behind.
    opening = 1.2 * streams / STARTS_PER_SECOND
    # The first of them is still open some time after the last was opened.
    tokens = int(TOKENS_PER_SECOND * (opening + 4 * SETTLING_SECONDS)) + 2
    script = answers(tokens, tokens_per_second=TOKENS_PER_SECOND)
    before, failed_before = side.server.memory_bytes, len(side.failures)
    held = asyncio.create_task(
        side.streams(script, streams=streams, starts_per_second=STARTS_PER_SECOND)
    )
    await asyncio.sleep(opening + SETTLING_SECONDS)
    taken = side.server.memory_bytes - before
    cpu, begun = side.server.cpu_seconds, time.perf_counter()
    await asyncio.sleep(SETTLING_SECONDS)
    share = (side.server.cpu_seconds - cpu) / (time.perf_counter() - begun)
    got = await held
    failed = len(side.failures) - failed_before
    paced, late_failed = await _lateness(side)
    firsts = sorted(stream.first_chunk_seconds for stream in got if stream.chunk_times)
    return Held(
        streams=streams,
        failed=failed,
        stream_kb=taken / streams / 1000,
        first_chunk_p50_ms=1e3 * firsts[len(firsts) // 2],
        cpu_share=share,
        late_p99_ms=1e3 * paced,
        late_failed=late_failed,
    )


async def _lateness(side: Side) -> tuple[float, int]:
    """Only of the seconds in which all streams run."""
    before = len(side.failures)
    opening = PACED_STREAMS / STARTS_PER_SECOND
    tokens = int(PACED_TOKENS_PER_SECOND * (opening + 10))
    got = await side.streams(
        answers(tokens, tokens_per_second=PACED_TOKENS_PER_SECOND),
        streams=PACED_STREAMS,
        starts_per_second=STARTS_PER_SECOND,
    )
    all_open = max(stream.asked_at for stream in got) + 1
    first_end = min(stream.chunk_times[-1] for stream in got if stream.chunk_times)
    gaps = [
        later - earlier
        for stream in got
        for earlier, later in stream.steps
        if all_open <= earlier and later <= first_end
    ]
    return p99(gaps) - 1 / PACED_TOKENS_PER_SECOND, len(side.failures) - before
