"""What Lex costs, beside what others cost: `make bench`.

The stand-in for Groq, Lex with everything on (SQLite, limits, metrics that are scraped, a tenth of
the traces), the same with Redis, nginx that passes bytes through, and the obvious service, each
with one worker; and one lean client in this process.
"""

import argparse
import resource
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import uvloop

from loadtests.bench import measures, results
from loadtests.bench.client import GROQ, LEX, Client
from loadtests.bench.holding import Held, hold
from loadtests.bench.measures import Busy, Side, windows
from loadtests.bench.plots import draw
from loadtests.bench.processes import Server, collector, lex, nginx, obvious, redis, standin
from loadtests.bench.results import Results
from loadtests.bench.scraping import scraping

EVERYTHING = {
    "RATE_LIMIT_SESSION": "1000000/minute;10000000/day",
    "RATE_LIMIT_CLIENT": "1000000/minute",
    "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
    "OTEL_TRACES_SAMPLER_ARG": "0.1",
    "LOG_FORMAT": "json",
    "MAX_STREAMS": "6000",
}
PATIENT = {"TURN_TIMEOUT_SECONDS": "300"}
"""For streams that are held open."""


class Bench:
    """The servers of one run; all of them run from its beginning to its end."""

    def __init__(self, stack: ExitStack) -> None:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self.standin = stack.enter_context(standin())
        spans = stack.enter_context(collector(scratch / "collector"))
        everything = {**EVERYTHING, **PATIENT, "OTEL_EXPORTER_OTLP_ENDPOINT": spans.url}
        upstream, line = self.standin.url, stack.enter_context(redis(scratch / "redis"))
        self.lex = _asked(
            "lex", stack.enter_context(lex(upstream, scratch / "lex", variables=everything))
        )
        with_redis = {**everything, "REDIS_URL": line}
        self.shared = _asked(
            "lex + redis",
            stack.enter_context(lex(upstream, scratch / "shared", variables=with_redis)),
        )
        self.held = stack.enter_context(lex(upstream, scratch / "held", variables=everything))
        self.obvious = _asked(
            "obvious", stack.enter_context(obvious(upstream, scratch / "obvious"))
        )
        passing = stack.enter_context(nginx(upstream, scratch / "nginx"))
        self.nginx = Side("nginx", passing, Client(passing.url, GROQ))
        self.bare = Side("stand-in", self.standin, Client(upstream, GROQ))

    async def run(self, *, times: int, streams: int) -> Results:
        busy = Busy()
        both, found = (self.lex, self.shared), {}
        plan = (
            (measures.stream_us, (self.nginx, *both, self.obvious)),
            (measures.turn_ms, both),
            (measures.tool_round_ms, both),
            (measures.first_chunk_alone_ms, (self.bare, *both, self.obvious)),
            (measures.first_chunk_busy_ms, (self.bare, self.nginx, *both)),
            (measures.gap_ms, (self.bare, self.nginx, *both)),
            (measures.token_us, (self.nginx, *both)),
        )
        async with scraping(self.lex.server.url), scraping(self.shared.server.url):
            for side in both:  # caches, connections, imports
                await measures.turn_ms(side)
            for measure, sides in plan:
                found[measure.__name__] = await windows(
                    measure, sides, standin=self.standin, busy=busy, times=times
                )
        held = await self._hold(streams)
        sides = (self.lex, self.shared, self.nginx, self.obvious)
        return Results(
            windows=found,
            held=held,
            failures={side.name: len(side.failures) for side in sides},
            client_busy=busy.client,
            standin_busy=busy.standin,
        )

    async def _hold(self, streams: int) -> Held:
        side = _asked("held", self.held)
        async with scraping(self.held.url):
            await measures.turn_ms(side)
            return await hold(side, streams=streams)


def _asked(name: str, server: Server) -> Side:
    return Side(name, server, Client(server.url, LEX))


def main() -> None:
    given = _options()
    _raise_file_limit()
    with ExitStack() as stack:
        found = uvloop.run(Bench(stack).run(times=given.windows, streams=given.streams))
    print("", *found.table(), "", sep="\n")
    targets = list(found.targets())
    print("| | | | at most | |", "|---|---|--:|--:|---|", *targets, sep="\n")
    print(f"\nOf a core, at the most: client {found.client_busy:.0%}", end=", ")
    print(f"stand-in {found.standin_busy:.0%}.")
    if (results.KEPT / "results.json").exists():
        print("\nBy what is kept:", *results.compared(found, Results.load(results.KEPT)), sep="\n")
    found.save(given.into)
    draw(found, given.into)
    sys.exit(not all(target.is_reached for target in targets))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench")
    parser.add_argument("--windows", type=int, default=3)
    parser.add_argument("--streams", type=int, default=5000, help="to be held open at once")
    parser.add_argument("--into", type=Path, default=results.KEPT / "latest", metavar="FOLDER")
    return parser.parse_args()


def _raise_file_limit() -> None:
    """For this process and those that it starts."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    main()
