"""Play the suite against a server, many exchanges at a time, and report what broke."""

import ssl
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import httpx

from tests.conformance.exchanges import Exchange, Suite, Transport
from tests.conformance.player import Player, Profile
from tests.conformance.rules import Breach
from tests.conformance.streams import READ_SECONDS


@dataclass(frozen=True)
class Result:
    """`lacks` is why an exchange was not played."""

    exchange: Exchange
    transport: str
    breaches: Sequence[Breach] = ()
    lacks: Sequence[str] = ()

    @property
    def place(self) -> str:
        return f"{self.exchange.id} over {self.transport}"


def run(
    suite: Suite,
    profile: Profile,
    url: str,
    *,
    only: Sequence[str] = (),
    over: Sequence[str] = (),
    at_a_time: int = 8,
) -> list[Result]:
    """Play all exchanges, or `only` those, over their transports, or those `over` which they go."""
    limits = httpx.Limits(max_connections=None)
    with (
        httpx.Client(
            base_url=url, timeout=READ_SECONDS, limits=limits, verify=_certificates()
        ) as client,
        ThreadPoolExecutor(at_a_time) as pool,
    ):

        def play(chosen: tuple[Exchange, Transport]) -> Result:
            exchange, transport = chosen
            if lacks := profile.lacks(exchange):
                return Result(exchange, transport.name, lacks=lacks)
            player = Player(suite, profile, client, exchange, transport)
            return Result(exchange, transport.name, breaches=player.play())

        return list(pool.map(play, _chosen(suite, only, over)))


@cache
def _certificates() -> ssl.SSLContext:
    """The certificates of this machine, read once: that takes longer than most exchanges."""
    return ssl.create_default_context()


def _chosen(
    suite: Suite, only: Sequence[str], over: Sequence[str]
) -> Iterator[tuple[Exchange, Transport]]:
    for exchange in suite.exchanges:
        if not only or exchange.id in only:
            for name in exchange.over:
                if not over or name in over:
                    yield exchange, suite.transports[name]


def shown(suite: Suite, results: Sequence[Result]) -> frozenset[str]:
    """The MUSTs that these results show."""
    played = [result for result in results if not result.lacks]
    musts = {must for result in played for must in result.exchange.shows}
    musts |= {rule.must for rule in suite.rules if played}
    for result in played:
        form = suite.refusals[suite.transports[result.transport].refusal]
        if any(step.expect.refused for step in result.exchange.steps):
            musts |= set(form["shows"])
    return frozenset(musts)


def report(suite: Suite, results: Sequence[Result]) -> str:
    """One line for each breach, and for each exchange that could not be played."""
    lines = [
        f"{breach.must}: {result.place}: {breach.why}"
        for result in results
        for breach in dict.fromkeys(result.breaches)
    ]
    lines += [
        f"not played: {id_} (needs {', '.join(lacks)})"
        for id_, lacks in {r.exchange.id: r.lacks for r in results if r.lacks}.items()
    ]
    played = [result for result in results if not result.lacks]
    broken = sum(bool(result.breaches) for result in played)
    lines.append(
        f"{len(played)} exchanges, {broken} broken; "
        f"{len(shown(suite, results))} of {len(suite.musts)} MUSTs shown"
    )
    return "\n".join(lines)
