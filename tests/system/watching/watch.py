"""Records what metrics, panels, rules, alerts and spans show during the scenario."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.operations.boards import BOARDS, HEAT_MAPS, as_asked, expressions
from tests.operations.rules import ALERTS, RECORDED
from tests.otlp import Span, collecting
from tests.prometheus import Prometheus
from tests.scraping import scrape
from tests.system.watching.faults import FAULTS
from tests.system.watching.mixture import Told, mixture
from tests.system.watching.stage import JOB, NAMESPACE, Stage, staged
from tests.waiting import LIMIT_SECONDS, waiting

Identity = tuple[str, str]
"""The name and window of an alert."""

INTERVAL = "1m"
"""Replaces Grafana's `$__rate_interval`, which is at least four scrape intervals."""


@dataclass
class Seen:
    told: Told = field(default_factory=Told)
    expositions: dict[str, str] = field(default_factory=dict)
    """The `/metrics` of each pod after the mixture."""
    answers: dict[str, list[float]] = field(default_factory=dict)
    """The values of panels and recorded series after the mixture, by expression."""
    silent: dict[Identity, list[float]] = field(default_factory=dict)
    """The values of alerts before any fault."""
    alarmed: dict[Identity, list[float]] = field(default_factory=dict)
    """The values of alerts during their fault."""
    broken_rules: list[str] = field(default_factory=list)
    exemplars: dict[str, set[str]] = field(default_factory=dict)
    """The traces of each heat map's exemplars, by its expression."""
    spans: list[Span] = field(default_factory=list)


def asked(expression: str) -> str:
    return as_asked(expression, namespace=NAMESPACE, job=JOB, interval=INTERVAL)


async def watch(folder: Path) -> Seen:
    with collecting() as collector:
        seen = Seen(spans=collector.spans)
        async with staged(folder, collector) as stage:
            seen.told = await mixture(stage)
            await _look(stage, seen)
            for fault in FAULTS:
                async with fault.happens(stage):
                    for alert in ALERTS:
                        if alert.name in fault.alerts:
                            found = await stage.prometheus.until(
                                alert.expression, seconds=LIMIT_SECONDS
                            )
                            seen.alarmed[alert.identity] = found
            seen.broken_rules = await stage.prometheus.broken_rules()
    return seen


async def _look(stage: Stage, seen: Seen) -> None:
    prometheus = stage.prometheus
    await _until_counted(stage, seen.told)
    for name, pod in (("pair", stage.pair), ("single", stage.single)):
        seen.expositions[name] = (await pod.client.get("/metrics")).text
    wanted = [asked(each) for board in BOARDS for each in expressions(board)]
    seen.answers = await _answers(prometheus, {*wanted, *(rule.name for rule in RECORDED)})
    for alert in ALERTS:
        seen.silent[alert.identity] = await prometheus.values(alert.expression)
    for each in HEAT_MAPS:
        seen.exemplars[each] = set(await prometheus.exemplars(asked(each)))


async def _until_counted(stage: Stage, told: Told) -> None:
    """Wait until Prometheus has scraped all turns, which are counted just after their streams."""
    turns = sum(told.ended.values())
    async with waiting():
        while True:
            pods = [await scrape(pod.client) for pod in (stage.pair, stage.single)]
            if sum(pod.value("lex_turns_total") for pod in pods) >= turns:
                break
            await asyncio.sleep(0.1)
    assert await stage.prometheus.until(f"sum(lex_turns_total) >= {turns}")


async def _answers(
    prometheus: Prometheus, expressions: Iterable[str], *, seconds: float = 15
) -> dict[str, list[float]]:
    """The values of expressions. Rules that read recorded series need several evaluations."""
    found: dict[str, list[float]] = {}
    missing = set(expressions)
    deadline = asyncio.get_running_loop().time() + seconds
    while missing and asyncio.get_running_loop().time() < deadline:
        for expression in missing:
            found[expression] = await prometheus.values(expression)
        missing = {expression for expression in missing if not found[expression]}
        await asyncio.sleep(0.5)  # Prometheus evaluates on a timer and tells nobody
    return found
