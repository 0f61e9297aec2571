"""The cost of Lex as ratios: `make bench`, or the shorter `make bench-short`.

One lean client in this process asks the obvious service, Lex with each of its stores, and nginx
alternately. Each has one worker. `yardsticks.py` freezes the yardsticks, `measures.py` takes the
measures, and `ratios.py` has the divisors and targets.
"""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import uvloop

from loadtests.bench import comparison, page
from loadtests.bench.forms import FORMS, FULL, Form
from loadtests.bench.measures import FIRST_CHUNK, MEMORY, STARTS, TOKENS, TURNS, warm_up
from loadtests.bench.processes import raise_file_limit
from loadtests.bench.results import KEPT, Results
from loadtests.bench.servers import standin
from loadtests.bench.sides import STORES, Side, opened
from loadtests.bench.table import aligned
from loadtests.bench.windows import Watch, Windows, measured


def main() -> None:
    given = _options()
    raise_file_limit()
    obstacle = comparison.obstacle(KEPT)
    if obstacle:
        print(obstacle)  # before the run takes minutes
    results = run(FORMS[given.form], given.stores)
    print("", *aligned(results.rows), "", results.busy, *results.faults(), sep="\n")
    print("", *([obstacle] if obstacle else comparison.compared(results, KEPT)), sep="\n")
    results.save(KEPT if given.keep else given.into)
    if given.keep:
        page.write(results)
    sys.exit(not results.is_good)


def run(form: Form, stores: Sequence[str]) -> Results:
    failed: Counter[str] = Counter()
    found: Windows = {}
    with tempfile.TemporaryDirectory() as scratch, standin() as upstream:
        watch = Watch(upstream)
        for phase in (_memory, _costs):
            watch.tell("servers start")
            with opened(upstream.url, Path(scratch, phase.__name__), stores=stores) as sides:
                found = {**uvloop.run(phase(sides, form, watch)), **found}
                failed.update(_failures(sides, watch))
    return Results(
        form=form.name,
        windows=found,
        failures=dict(failed),
        client_busy=watch.client_busy,
        standin_busy=watch.standin_busy,
        client_waited=watch.client_waited,
    )


async def _memory(sides: Sequence[Side], form: Form, watch: Watch) -> Windows:
    await warm_up(sides)
    found = await measured((MEMORY,), sides, form=replace(form, slices=1), watch=watch)
    for side in sides:
        side.leave()
    return found


async def _costs(sides: Sequence[Side], form: Form, watch: Watch) -> Windows:
    await warm_up(sides)
    return await measured((TURNS, TOKENS, FIRST_CHUNK, STARTS), sides, form=form, watch=watch)


def _failures(sides: Sequence[Side], watch: Watch) -> dict[str, int]:
    for side in sides:
        if side.failures:
            watch.tell(f"{side.name} failed, first with: {side.failures[0]}")
    return {side.name: len(side.failures) for side in sides}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench")
    parser.add_argument("--form", choices=FORMS, default=FULL.name)
    parser.add_argument("--stores", choices=STORES, nargs="+", default=STORES)
    parser.add_argument("--into", type=Path, default=KEPT / "latest", metavar="FOLDER")
    parser.add_argument("--keep", action="store_true", help="also write RESULTS.md")
    given = parser.parse_args()
    if given.keep and (given.form != FULL.name or tuple(given.stores) != STORES):
        parser.error("--keep needs the full form with all stores")
    return given


if __name__ == "__main__":
    main()
