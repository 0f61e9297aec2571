"""5,000 streams open at once on one worker: `make bench-hold`.

Each gets a token every ten seconds with heartbeats between them, while the metrics are scraped.
None may fail from its first chunk to its end.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import uvloop

from loadtests.bench.dialects import answers
from loadtests.bench.measures import A_FEW, WORD
from loadtests.bench.processes import raise_file_limit
from loadtests.bench.scraping import scraping
from loadtests.bench.servers import lex, standin
from loadtests.bench.sides import EVERYTHING, Side

HELD = answers(30, tokens_per_second=0.1)
"""Five minutes. If the machine cannot open all streams in that time, the first ones end too early,
which counts as a failure.
"""


async def hold(side: Side, *, streams: int) -> bool:
    """Open the streams. Returns True if all were open at once and none failed."""
    await side.keep_asking(WORD, at_once=A_FEW, seconds=1)
    before = side.server.memory_bytes
    await side.hold(HELD, streams=streams, at_once=A_FEW)
    early = sum(reader.ended.is_set() for reader in side.held)
    each_kb = (side.server.memory_bytes - before) / streams / 1e3
    print(f"{streams - early} of {streams} streams are open, {each_kb:.0f} kB each", flush=True)
    for reader in side.held:
        await reader.ended.wait()
    side.note([reader.stream for reader in side.held])
    print(f"{len(side.failures)} streams failed", *side.failures[:3], sep="\n")
    return not early and not side.failures


async def _scraped(side: Side, *, streams: int) -> bool:
    async with scraping(side.server.url):
        return await hold(side, streams=streams)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench.holding")
    parser.add_argument("--streams", type=int, default=5000)
    given = parser.parse_args()
    raise_file_limit()
    with (
        tempfile.TemporaryDirectory() as scratch,
        standin() as upstream,
        lex(upstream.url, Path(scratch, "lex"), variables=EVERYTHING) as server,
    ):
        is_good = uvloop.run(_scraped(Side.of("sqlite", server), streams=given.streams))
    sys.exit(not is_good)


if __name__ == "__main__":
    main()
