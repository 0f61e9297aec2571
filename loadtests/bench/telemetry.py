"""The CPU cost of telemetry: `make bench-telemetry`.

Two servers get the same queries alternately, for a second each, because the load of a machine
changes from second to second. One has everything on: every turn traced and sent to a collector,
metrics scraped, a line of JSON for each turn, call and request. The other has everything off: no
collector, no scrape, `LOG_LEVEL=ERROR`. The benchmark compares the CPU time of a turn that the
kernel counts for each server, including the time in which the other one is asked. Clients, the
stand-in and the collector are other processes.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from loadtests.bench.processes import Server
from loadtests.bench.scraping import scrape
from loadtests.bench.servers import collector, lex, standin

EVERYTHING = {
    "LOG_FORMAT": "json",
    "LOG_LEVEL": "INFO",
    "OTEL_TRACES_SAMPLER": "always_on",
}

SLICES = 8
"""Slices of a window, with about a second for each server. One scrape a window means one scrape for
about ten seconds of work."""

SPANS_LEAVE_SECONDS = 6.0
"""Longer than the five seconds after which the SDK sends its spans."""

SPANS_PER_TURN = 3
"""Minimum number of spans: the request, the turn and the call."""


@dataclass
class Side:
    """One of the two servers, and its milliseconds of CPU a turn in each window."""

    name: str
    server: Server
    is_scraped: bool
    windows: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.windows)

    def __str__(self) -> str:
        spread = f"{min(self.windows):.3f} … {max(self.windows):.3f}"
        return f"{self.name:<11} {self.median:.3f} ms of CPU a turn ({spread})"


@dataclass(frozen=True)
class Load:
    """The queries of one slice."""

    turns: int
    at_once: int
    tokens: int
    tokens_per_second: float

    @property
    def query(self) -> str:
        script = {"rounds": [{"tokens": self.tokens, "tokens_per_second": self.tokens_per_second}]}
        return f"[[script {json.dumps(script)}]]"

    async def put_on(self, client: aiohttp.ClientSession, server: Server) -> None:
        left = iter(range(self.turns))

        async def ask_on() -> None:
            for _ in left:
                await _ask(client, server, self.query)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(self.at_once):
                tasks.create_task(ask_on())


async def _ask(client: aiohttp.ClientSession, server: Server, query: str) -> None:
    async with client.post(f"{server.url}/query", json={"query": query}) as answer:
        text = await answer.text()
    if (
        answer.status != 200
        or "event: error" in text
        or not text.endswith("event: end\ndata: \n\n")
    ):
        raise SystemExit(f"A turn failed: {answer.status} {text[-300:]}")


async def measure(sides: Sequence[Side], load: Load, *, windows: int) -> None:
    """Measure all windows. The first one warms up and does not count."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as client:
        for number in range(windows + 1):
            begun = [side.server.cpu_seconds for side in sides]
            for place in range(SLICES):
                # Each goes first equally often.
                for side in sides if place % 2 else reversed(sides):
                    if side.is_scraped and not place:
                        await scrape(side.server.url)
                    await load.put_on(client, side.server)
            for side, before in zip(sides, begun, strict=True):
                cost = (side.server.cpu_seconds - before) / (SLICES * load.turns) * 1000
                if number:
                    side.windows.append(cost)
                    print(f"window {number}, {side.name}: {cost:.3f} ms", flush=True)
        await asyncio.sleep(SPANS_LEAVE_SECONDS)


def price(silent: Side, watched: Side) -> list[float]:
    """The extra cost in each window, in percent."""
    pairs = zip(silent.windows, watched.windows, strict=True)
    return [100 * (dear / cheap - 1) for cheap, dear in pairs]


def main() -> None:
    given = _options()
    load = Load(given.turns, given.at_once, given.tokens, given.tokens_per_second)
    with (
        tempfile.TemporaryDirectory() as scratch,
        collector(Path(scratch, "collector")) as spans,
        standin() as upstream,
        lex(upstream.url, Path(scratch, "silent"), variables={"LOG_LEVEL": "ERROR"}) as off,
        lex(
            upstream.url,
            Path(scratch, "watched"),
            variables={**EVERYTHING, "OTEL_EXPORTER_OTLP_ENDPOINT": spans.url},
        ) as on,
    ):
        silent = Side("all off", off, is_scraped=False)
        watched = Side("all on", on, is_scraped=True)
        asyncio.run(measure((silent, watched), load, windows=given.windows))
        turns = (given.windows + 1) * SLICES * given.turns
        _check_that_it_was_watched(on, spans, turns=turns)
    sys.exit(_tell(silent, watched, load, at_most=given.at_most))


def _check_that_it_was_watched(server: Server, collector: Server, *, turns: int) -> None:
    told = server.log.read_text().count('"turn_finished"')
    if told != turns:
        sys.exit(f"{told} of {turns} turns are in the log, so the measurement is invalid.")
    with urllib.request.urlopen(collector.url) as answer:
        spans = int(answer.read())
    if spans < SPANS_PER_TURN * turns:
        sys.exit(f"Only {spans} spans arrived, so the measurement is invalid.")


def _tell(silent: Side, watched: Side, load: Load, *, at_most: float) -> int:
    prices = price(silent, watched)
    median = statistics.median(prices)
    window = f"{SLICES} times {load.turns} turns of {load.tokens} tokens"
    print(f"\nA window is {window}, {load.at_once} at once, {load.tokens_per_second:g} a second")
    print(silent, watched, sep="\n")
    spread = f"{min(prices):+.1f} … {max(prices):+.1f}"
    print(f"price       {median:+.1f} % ({spread}); the limit is {at_most:g} %")
    return 0 if median <= at_most else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench.telemetry")
    parser.add_argument("--windows", type=int, default=11)
    parser.add_argument("--turns", type=int, default=80, help="in each slice")
    parser.add_argument("--at-once", type=int, default=40)
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--tokens-per-second", type=float, default=300.0)
    parser.add_argument("--at-most", type=float, default=15.0, metavar="PERCENT")
    return parser.parse_args()


if __name__ == "__main__":
    main()
