"""Guarantees between worker processes: one booking per slot, one migration, one new session."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager

from backend.storage.factory import open_stores
from tests.contract.test_appointments import MINE
from tests.processes import ROOT, process
from tests.waiting import within_limit


async def test_of_two_hundred_attempts_in_two_processes_one_gets_the_slot(sql_url: str) -> None:
    with ExitStack() as stack:
        workers = [
            stack.enter_context(_python("tests.contract.rush", sql_url, name))
            for name in ("one", "two")
        ]
        assert [_line(worker) for worker in workers] == ["ready", "ready"]
        for worker in workers:
            _say(worker, "go")
        reports = [json.loads(_line(worker)) for worker in workers]

    confirmed = [id_ for report in reports for id_ in report["confirmed"]]
    assert len(confirmed) == 1
    assert sum(report["taken"] for report in reports) == 199
    stores = await open_stores(sql_url, lease_seconds=15, migrate=False)
    assert await stores.appointments.taken(MINE.dealership_id, MINE.date) == {MINE.time}
    await stores.close()


async def test_workers_that_start_at_once_migrate_once(sql_url: str) -> None:
    async with AsyncExitStack() as stack:
        migrate = ("-m", "backend.storage.sql.migrate")
        workers = [
            await stack.enter_async_context(process(*migrate, variables={"DATABASE_URL": sql_url}))
            for _ in range(2)
        ]
        codes = [await within_limit(worker.wait()) for worker in workers]

    assert codes == [0, 0]
    stores = await open_stores(sql_url, lease_seconds=15, migrate=False)
    assert len((await stores.showrooms.showroom()).dealerships) == 7
    await stores.close()


@contextmanager
def _python(module: str, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    program = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    with program:
        try:
            yield program
        finally:
            program.kill()


def _line(program: "subprocess.Popen[str]") -> str:
    assert program.stdout
    assert program.stderr
    return program.stdout.readline().strip() or program.stderr.read()


def _say(program: "subprocess.Popen[str]", line: str) -> None:
    assert program.stdin
    program.stdin.write(line + "\n")
    program.stdin.flush()
