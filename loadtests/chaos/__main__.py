"""`make chaos`: does Lex keep what it acknowledges while workers and stores fail?

The run starts Postgres, Redis, gunicorn and the stand-in for Groq on loopback, and stops them at
the end. The seed determines the faults and their order, but not the timing of clients and machine.
"""

import argparse
import asyncio
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from loadtests.bench.processes import raise_file_limit
from loadtests.chaos.run import Run


def main() -> None:
    given = _options()
    raise_file_limit()
    # Stop the servers in order, also if a supervisor ends the run.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    run = Run(
        given.seed,
        given.minutes,
        given.clients,
        has_pooler=given.pooler,
        has_cluster=given.redis_cluster,
    )
    folder = Path(tempfile.mkdtemp(prefix="lex-chaos-"))
    asyncio.run(run.go(folder))
    shutil.rmtree(folder / "data")  # the data of Postgres
    print("", *run.report.lines(), "", sep="\n")
    if not run.report.is_good:
        sys.exit(f"FAILED; SEED={run.seed} repeats the faults. The servers' logs are in {folder}.")
    shutil.rmtree(folder)
    print("All is well.")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.chaos")
    parser.add_argument("--seed", default=str(random.randrange(10**6)))
    parser.add_argument("--minutes", type=float, default=10.0, help="approximate duration")
    parser.add_argument("--clients", type=int, default=40)
    parser.add_argument("--pooler", action="store_true", help="put PgBouncer before Postgres")
    parser.add_argument("--redis-cluster", action="store_true", help="six nodes, not one Redis")
    return parser.parse_args()


if __name__ == "__main__":
    main()
