"""The sides of a comparison: Lex with each of its stores, and the yardsticks."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from loadtests.bench import servers
from loadtests.bench.client import Client, Reader, Stream, failures
from loadtests.bench.dialects import GROQ, LEX, Dialect, Script
from loadtests.bench.processes import Server

STORES = ("sqlite", "redis", "postgres")
"""The stores with which Lex is measured. `redis` is SQLite with Redis."""

OBVIOUS, NGINX = "obvious", "nginx"

EVERYTHING = {
    "RATE_LIMIT_SESSION": "1000000/minute;10000000/day",
    "RATE_LIMIT_CLIENT": "1000000/minute",
    "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
    "OTEL_TRACES_SAMPLER_ARG": "0.1",
    "LOG_FORMAT": "json",
    "MAX_STREAMS": "6000",
    # Held streams stay open for minutes.
    "TURN_TIMEOUT_SECONDS": "600",
}
"""Limits, JSON logs and a tenth of the traces, as in production."""


@dataclass
class Side:
    """One server, and the failures of its streams."""

    name: str
    server: Server
    client: Client
    has_tools: bool
    failures: list[str] = field(default_factory=list)
    held: list[Reader] = field(default_factory=list)

    @classmethod
    def of(
        cls, name: str, server: Server, *, dialect: Dialect = LEX, has_tools: bool = True
    ) -> "Side":
        return cls(name, server, Client(server.url, dialect), has_tools)

    async def keep_asking(self, script: Script, *, at_once: int, seconds: float) -> list[Stream]:
        got = await self.client.keep_asking(script, at_once=at_once, seconds=seconds)
        self.note(got)
        return got

    async def burst(
        self, script: Script, *, streams: int, starts_per_second: float
    ) -> list[Stream]:
        got = await self.client.burst(script, streams=streams, starts_per_second=starts_per_second)
        self.note(got)
        return got

    async def hold(self, script: Script, *, streams: int, at_once: int) -> None:
        """Open more streams, beside those that are held already."""
        self.held += await self.client.hold(script, streams=streams, at_once=at_once)

    def leave(self) -> None:
        """Close all held streams. A stream that has ended already is a failure."""
        self.failures += failures([one.stream for one in self.held if one.ended.is_set()])
        for reader in self.held:
            reader.leave()
        self.held.clear()

    def note(self, streams: Sequence[Stream]) -> None:
        """Count failed streams. If all failed, end the run."""
        failed = failures(streams)
        if failed and len(failed) == len(streams):
            sys.exit(f"All streams of the side {self.name} failed: {failed[0]}")
        self.failures += failed


@contextmanager
def opened(upstream: str, folder: Path, *, stores: Sequence[str]) -> Iterator[list[Side]]:
    """Start new servers: the obvious service, Lex with each of `stores`, and nginx."""
    folder.mkdir()
    with ExitStack() as stack:
        spans = stack.enter_context(servers.collector(folder / "collector"))
        obvious = stack.enter_context(servers.obvious(upstream, folder / OBVIOUS))
        sides = [Side.of(OBVIOUS, obvious, has_tools=False)]
        for store in stores:
            told = {"OTEL_EXPORTER_OTLP_ENDPOINT": spans.url, **_store(store, folder, stack)}
            starting = servers.lex(upstream, folder / store, variables={**EVERYTHING, **told})
            sides.append(Side.of(store, stack.enter_context(starting)))
        nginx = stack.enter_context(servers.nginx(upstream, folder / NGINX))
        yield [*sides, Side.of(NGINX, nginx, dialect=GROQ, has_tools=False)]


def _store(store: str, folder: Path, stack: ExitStack) -> dict[str, str]:
    """Start a store, and return the setting for Lex."""
    match store:
        case "redis":
            return {"REDIS_URL": stack.enter_context(servers.redis(folder / "redis-server"))}
        case "postgres":
            return {"DATABASE_URL": stack.enter_context(servers.postgres())}
    return {}  # SQLite needs no server
