"""A guard: the calls that Lex makes for a turn, relative to those of the obvious service.

They stand for its CPU time, which cannot be measured on a machine that runs other tests.
"""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from loadtests.bench import servers
from loadtests.bench.counted import toggle
from loadtests.bench.dialects import Script
from loadtests.bench.measures import WORD, WORD_AFTER_A_TOOL
from loadtests.bench.sides import EVERYTHING, Side
from tests.waiting import waiting

TURN, TOOL_ROUND = 0.65, 0.29
"""Calls of a turn with one word, and those that a tool round adds, by those of the obvious turn.

If a change moves one by more than a tenth, find out why. Then record the new one.
"""
A_TENTH = 0.1

TURNS, WINDOWS = 6, 3
UNDER = ("loadtests.bench.counted",)


@contextmanager
def sides(folder: Path) -> Iterator[list[Side]]:
    with ExitStack() as stack:
        upstream = stack.enter_context(servers.standin()).url
        spans = stack.enter_context(servers.collector(folder / "collector"))
        told = {**EVERYTHING, "OTEL_EXPORTER_OTLP_ENDPOINT": spans.url}
        lex = servers.lex(
            upstream,
            folder / "lex",
            variables={**told, "COUNTED": f"{folder}/lex/calls"},
            under=UNDER,
        )
        obvious = servers.obvious(
            upstream,
            folder / "obvious",
            variables={"COUNTED": f"{folder}/obvious/calls"},
            under=UNDER,
        )
        yield [
            Side.of("lex", stack.enter_context(lex)),
            Side.of("obvious", stack.enter_context(obvious), has_tools=False),
        ]


async def calls_of(side: Side, script: Script, folder: Path) -> float:
    """The calls of one turn, after some that fill caches.

    The fewest of several windows count, because work in the background only adds to them.
    """
    result = folder / side.name / "calls"
    await asked(side, script)
    return min([await in_a_window(side, script, result) for _ in range(WINDOWS)]) / TURNS


async def in_a_window(side: Side, script: Script, result: Path) -> int:
    await toggled(side, result)
    await asked(side, script)
    return await toggled(side, result)


async def toggled(side: Side, result: Path) -> int:
    toggle(side.server)
    async with waiting():
        while (calls := taken(result)) is None:
            await asyncio.sleep(0.01)  # a signal has no answer that could be awaited
    return calls


def taken(result: Path) -> int | None:
    """Return the count and remove its file; None if it is not written yet."""
    if not result.exists():
        return None
    calls = int(result.read_text())
    result.unlink()
    return calls


async def asked(side: Side, script: Script) -> None:
    for _ in range(TURNS):
        side.note([await side.client.ask(script)])


async def test_a_turn_makes_no_more_calls_than_recorded(tmp_path: Path) -> None:
    with sides(tmp_path) as (lex, obvious):
        turn = await calls_of(lex, WORD, tmp_path)
        with_tool = await calls_of(lex, WORD_AFTER_A_TOOL, tmp_path)
        by = await calls_of(obvious, WORD, tmp_path)

    assert turn / by == pytest.approx(TURN, rel=A_TENTH)
    assert (with_tool - turn) / by == pytest.approx(TOOL_ROUND, rel=A_TENTH)
