"""Compares the CPU cost of a stream with the obvious service's, to notice a slow hot path.

It checks ratios within one run, with a wide margin. `make bench` measures exactly.
"""

import statistics
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from loadtests.bench.forms import SHORT
from loadtests.bench.measures import STREAMS, warm_up
from loadtests.bench.ratios import rows
from loadtests.bench.servers import lex, obvious, standin
from loadtests.bench.sides import OBVIOUS, Side
from loadtests.bench.windows import Watch, measured

AT_MOST = 0.75
"""The limit, as a share of the obvious service's CPU. 0.48 was measured with everything on."""


@pytest.mark.timeout(300)
async def test_a_stream_costs_less_than_that_of_the_obvious_service(tmp_path: Path) -> None:
    with ExitStack() as stack:
        upstream = stack.enter_context(standin())
        ours = stack.enter_context(lex(upstream.url, tmp_path / "lex", variables={}))
        theirs = stack.enter_context(obvious(upstream.url, tmp_path / "obvious"))
        sides = [Side.of(OBVIOUS, theirs, has_tools=False), Side.of("sqlite", ours)]
        await warm_up(sides)

        found = await measured(
            (STREAMS,), sides, form=replace(SHORT, windows=3), watch=Watch(upstream)
        )

    assert [side.failures for side in sides] == [[], []]
    (row,) = rows(found)
    assert statistics.median(row.ratios) < AT_MOST
