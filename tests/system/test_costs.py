"""What a stream costs beside the obvious service: a guard against a hot path that has got slow.

Only ratios of one run, with room: `make bench` measures, this notices what is badly wrong.
"""

import statistics
from contextlib import ExitStack
from pathlib import Path

import pytest

from loadtests.bench.client import LEX, Client
from loadtests.bench.measures import Busy, Side, stream_us, windows
from loadtests.bench.processes import lex, obvious, standin

AT_MOST = 0.75
"""Of the obvious service's CPU. RESULTS.md has 0.48, with everything on."""


@pytest.mark.timeout(300)
async def test_a_stream_costs_less_than_that_of_the_obvious_service(tmp_path: Path) -> None:
    with ExitStack() as stack:
        upstream = stack.enter_context(standin())
        started = (
            ("lex", lex(upstream.url, tmp_path / "lex", variables={})),
            ("obvious", obvious(upstream.url, tmp_path / "obvious")),
        )
        sides = []
        for name, starting in started:
            server = stack.enter_context(starting)
            sides.append(Side(name, server, Client(server.url, LEX)))
        for side in sides:  # imports and caches
            await stream_us(side)

        found = await windows(stream_us, sides, standin=upstream, busy=Busy(), times=3)

    assert [side.failures for side in sides] == [[], []]
    ours, theirs = (statistics.median(found[side.name]) for side in sides)
    assert ours < AT_MOST * theirs
