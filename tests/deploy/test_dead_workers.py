"""Workers that are killed under load: their turns and deaths are counted exactly, once."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx

from infrastructure.groq_standin import Standin
from tests.deploy.servers import GUNICORN, Deployed, Reading, count_for, deployed, read
from tests.postgres import PostgresServer
from tests.scraping import Scrape, scrape
from tests.waiting import waiting

LEASE_SECONDS = 2.0
WORKERS = 3
STREAMS = 40
KILLS = 3


@asynccontextmanager
async def under_load(service: Deployed, wave: int) -> AsyncIterator[list[Reading]]:
    """Read streams during the block, which begins when all have their first text."""
    readings = [Reading() for _ in range(STREAMS)]
    async with asyncio.TaskGroup() as tasks:
        for number, each in enumerate(readings):
            tasks.create_task(read(service.client, each, f"wave{wave}-{number}"))
        for each in readings:
            async with waiting():
                await each.begun.wait()
        yield readings


async def until(service: Deployed, is_so: Callable[[Scrape], bool]) -> Scrape:
    async with waiting():
        while True:
            # The connection may belong to a worker that has died.
            with suppress(httpx.TransportError):
                if is_so(seen := await scrape(service.client)):
                    return seen
            await asyncio.sleep(0.1)


async def test_the_turns_of_killed_workers_are_counted_once_by_those_that_live(
    standin: Standin, tmp_path: Path, postgres: PostgresServer
) -> None:
    count_for(standin, 4)
    given = {"WEB_CONCURRENCY": str(WORKERS), "LEASE_SECONDS": str(LEASE_SECONDS)}
    broken = 0

    with postgres.database() as url:
        async with deployed(GUNICORN, standin, tmp_path, DATABASE_URL=url, **given) as service:
            for wave in range(KILLS):
                async with under_load(service, wave) as readings:
                    os.kill(service.workers[wave % WORKERS], signal.SIGKILL)
                broken += sum(each.is_truncated for each in readings)
                await service.until_said("lex_started", times=WORKERS + wave + 1)
                whole = (wave + 1) * STREAMS - broken
                await until(service, lambda seen: seen.value("lex_turns_total") >= whole)  # noqa: B023
            await until(service, lambda seen: seen.value("lex_turns_lost_total") >= broken)
            # Every worker looks for lost turns once per lease: none may count one again.
            await asyncio.sleep(2 * LEASE_SECONDS)  # in which others could count again
            seen = await scrape(service.client)

    assert broken >= KILLS
    assert seen.value("lex_turns_lost_total") == broken
    assert seen.value("lex_turns_total", outcome="completed") == KILLS * STREAMS - broken
    assert seen.value("lex_turns_total") == KILLS * STREAMS - broken
    assert seen.value("lex_store_transaction_seconds_count", operation="claim") == KILLS * STREAMS
    assert seen.values("lex_worker_deaths_total", "reason") == {
        "signal": KILLS,
        "timeout": 0,
        "exit": 0,
    }


async def test_a_reload_is_no_death_and_leaves_no_files(standin: Standin, tmp_path: Path) -> None:
    count_for(standin, 0.2)
    counts = tmp_path / "counts"
    given = {"PROMETHEUS_MULTIPROC_DIR": str(counts)}

    async with deployed(GUNICORN, standin, tmp_path, **given) as service:
        for reload in range(2):
            before = service.workers
            await read(service.client, Reading(), f"s{reload}")
            service.send(signal.SIGHUP)
            async with waiting():
                while set(service.workers) & set(before):
                    await asyncio.sleep(0.05)
        pids = {str(pid) for pid in service.workers}
        async with waiting():
            # The arbiter folds the counts of a worker just after its process has gone.
            while owners_of(counts) != pids | {"folded4"}:
                await asyncio.sleep(0.05)
        seen = await scrape(service.client)

    assert seen.value("lex_worker_deaths_total") == 0
    assert seen.value("lex_turns_total") == 2


def owners_of(counts: Path) -> set[str]:
    """The processes that files of counts belong to."""
    return {file.stem.rpartition("_")[2] for file in counts.glob("*.db")}


async def test_a_worker_that_hangs_dies_of_the_arbiters_timeout(
    standin: Standin, tmp_path: Path
) -> None:
    command = (*GUNICORN, "--timeout", "3")

    async with deployed(command, standin, tmp_path, WEB_CONCURRENCY="2") as service:
        os.kill(service.workers[0], signal.SIGSTOP)
        seen = await until(service, lambda seen: seen.value("lex_worker_deaths_total") > 0)

    assert seen.value("lex_worker_deaths_total", reason="timeout") == 1


async def test_a_lone_worker_reports_the_death_of_the_one_before(
    standin: Standin, tmp_path: Path
) -> None:
    async with deployed(GUNICORN, standin, tmp_path, WEB_CONCURRENCY="1") as service:
        os.kill(service.workers[0], signal.SIGKILL)
        await service.until_said("lex_started", times=2)
        seen = await scrape(service.client)

    assert seen.value("lex_worker_deaths_total", reason="signal") == 1
    assert "process_resident_memory_bytes" in seen.types


async def test_a_worker_that_is_told_to_leave_while_it_starts_has_not_died(
    standin: Standin, tmp_path: Path
) -> None:
    async with deployed(GUNICORN, standin, tmp_path, WEB_CONCURRENCY="1") as service:
        (first,) = service.workers
        service.send(signal.SIGTTIN)  # one more worker, which the arbiter replaces when it ends
        for moment in (0, 0.05, 0.3, 0.6):
            async with waiting():
                while not (later := set(service.workers) - {first}):
                    await asyncio.sleep(0.005)
                await asyncio.sleep(moment)  # the moment of the signal
                (pid,) = later
                os.kill(pid, signal.SIGTERM)
                while pid in service.workers:
                    await asyncio.sleep(0.005)
        seen = await scrape(service.client)

    assert seen.value("lex_worker_deaths_total") == 0
