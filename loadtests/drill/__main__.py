"""`make drill`: when a known party is at fault, do the dashboards and alerts say so?

Each fault happens to a new Lex with customers, in front of a real Prometheus with our rules and in
compressed time. The run prints a table; with `--keep` it also writes the table into the
documents, the picture, and the recordings that a test replays.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from loadtests.bench.processes import raise_file_limit
from loadtests.drill import page, picture
from loadtests.drill.customers import Customers, asking
from loadtests.drill.faults import FAULTS, Happens
from loadtests.drill.outcomes import Drill
from loadtests.drill.recording import keep, recorded
from loadtests.drill.stage import emptied, pass_by, staged
from loadtests.drill.watching import Seen, watch

BEFORE_MINUTES = 10.0
"""The minutes of Prometheus' time before a fault."""

FAULT_MINUTES = 15.0

HEALTHY_MINUTES = 60.0


def main() -> None:
    given = _options()
    raise_file_limit()
    drills = [
        Drill(fault.name, strength, happens)
        for fault in FAULTS
        for strength, happens in fault.strengths.items()
        if given.only.casefold() in f"{fault.name}, {strength}".casefold()
    ]
    if not given.only:
        drills = [Drill("Nothing", "an hour", None), *drills]
    with tempfile.TemporaryDirectory(prefix="lex-drill-") as folder:
        asyncio.run(_run_all(drills, Path(folder), at_once=given.at_once, keeps=given.keep))
    print("", *page.table(drills), sep="\n")
    if given.keep and not given.only:
        page.write(drills)
        picture.write(drills)
    if any(drill.problems for drill in drills):
        sys.exit("Some faults were not seen, or alarmed without a fault.")


async def _run_all(drills: Sequence[Drill], folder: Path, *, at_once: int, keeps: bool) -> None:
    room, begun = asyncio.Semaphore(at_once), time.monotonic()

    async def run(number: int, drill: Drill) -> None:
        async with room:
            drill.seen, drill.told, series = await _run(
                drill.happens, emptied(folder / str(number))
            )
        minutes, seconds = divmod(round(time.monotonic() - begun), 60)
        print(f"{minutes}:{seconds:02} {drill.said}", flush=True)
        if keeps:
            lasting, ever = drill.seen.lasting, {*drill.seen.red, *drill.seen.alarming}
            keep(drill.slug, {"lasting": sorted(lasting), "ever": sorted(ever), "series": series})

    await asyncio.gather(*(run(number, drill) for number, drill in enumerate(drills)))


async def _run(
    happens: Happens | None, folder: Path
) -> tuple[Seen, dict[str, int], dict[str, list[float]]]:
    async with staged(folder) as stage, asking(Customers(stage)) as customers:
        if not await stage.prometheus.until("count(lex_build_info) == 1"):
            sys.exit("Prometheus does not see Lex.")
        begun = time.time()
        if happens is None:
            seen = await watch(stage, minutes=HEALTHY_MINUTES)
        else:
            await pass_by(BEFORE_MINUTES)
            customers.told.clear()
            async with happens(stage, customers):
                seen = await watch(stage, minutes=FAULT_MINUTES)
        told = dict(customers.told)
        return seen, told, await recorded(stage.prometheus, begun=begun, ended=time.time())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.drill")
    parser.add_argument("--only", default="", help="part of a fault's name")
    parser.add_argument("--at-once", type=int, default=2, help="drills side by side")
    parser.add_argument(
        "--keep",
        action="store_true",
        help="write the recordings, and of all drills the table and the picture",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
