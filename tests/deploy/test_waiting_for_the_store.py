"""A worker that starts while the database is away waits for it, and no other worker suffers."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import pytest
from sqlalchemy.engine import make_url

from infrastructure.groq_standin import Standin
from infrastructure.ports import free_port
from tests.contract.schemas import execute
from tests.deploy.servers import GUNICORN, PLAIN, Deployed, count_for, deployed, reading
from tests.postgres import PostgresServer
from tests.postgres_gate import PostgresGate, postgres_gate
from tests.processes import process, ready
from tests.serving import parse, without_ids
from tests.waiting import waiting

UVICORN = ("-m", "uvicorn", "backend.main:app")


@pytest.fixture
async def gate(postgres: PostgresServer) -> AsyncIterator[PostgresGate]:
    with postgres.database() as url:
        async with postgres_gate(url) as gate:
            yield gate


@asynccontextmanager
async def _starting(
    command: Sequence[str], standin: Standin, folder: Path, **variables: str
) -> AsyncIterator[Deployed]:
    """Like `deployed`, for a service that is not ready until the test makes it so."""
    port = free_port()
    port_option = ["--port", str(port)] if command == UVICORN else []
    variables = {
        "PORT": str(port),
        "GROQ_BASE_URL": standin.url,
        "WEB_CONCURRENCY": "2",
        "DRAIN_ACCEPT_SECONDS": "0",
        **variables,
    }
    log = folder / f"{port}.log"
    with log.open("wb") as stderr:
        async with (
            process(*command, *port_option, variables=variables, stderr=stderr) as running,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
        ):
            yield Deployed(client, running, log)


def _sockets(pid: int) -> int:
    links = [str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir()]
    return sum(link.startswith("socket:") for link in links)


@contextmanager
def _of_another_product(url: str) -> Iterator[None]:
    """Make the database unusable for new workers, while running workers go on."""
    execute(url, "UPDATE alembic_version SET version_num = 'x' || version_num")
    try:
        yield
    finally:
        execute(url, "UPDATE alembic_version SET version_num = substr(version_num, 2)")


async def _value(service: Deployed, metric: str) -> float:
    text = (await service.client.get("/metrics")).text
    found = re.search(rf"^{metric} (\S+)$", text, re.MULTILINE)
    assert found, metric
    return float(found[1])


async def test_a_worker_that_replaces_another_waits_and_the_others_go_on(
    gate: PostgresGate, standin: Standin, tmp_path: Path
) -> None:
    count_for(standin, 8)
    lease = {"LEASE_SECONDS": "60"}

    async with deployed(GUNICORN, standin, tmp_path, DATABASE_URL=gate.url, **lease) as service:
        async with reading(service.client, 40) as readings:
            # The worker with fewer connections, so that most streams go on.
            victim, survivor = sorted(service.workers, key=_sockets)
            await gate.shut()
            os.kill(victim, signal.SIGKILL)
            await service.until_said("store_awaited", times=1)
            statuses = [(await service.client.get("/livez")).status_code for _ in range(5)]
            waiting_workers = await _value(service, "lex_workers_waiting")
            store_up = await _value(service, "lex_store_up")
            await gate.open()
        await service.until_said("store_reached", times=1)
        await service.until_said("lex_started", times=3)
        async with waiting():
            while await _value(service, "lex_workers_waiting"):
                await asyncio.sleep(0.05)
        workers = service.workers
    (awaited, *_), log = service.lines("store_awaited"), service.log.read_text()

    broken = [each for each in readings if not each.ends]
    assert len(broken) <= 20, "streams of the surviving worker broke off"
    assert statuses == [200] * 5
    assert (waiting_workers, store_up) == (1, 0)
    assert survivor in workers
    assert len(workers) == 2
    assert awaited["reason"] == "The database is not available: connection refused."
    assert awaited["store"] == f"127.0.0.1:{make_url(gate.url).port}"
    assert "Shutting down: Master" not in log.partition("store_reached")[0]


async def test_a_reload_that_meets_a_database_that_is_away_loses_no_stream(
    gate: PostgresGate, standin: Standin, tmp_path: Path
) -> None:
    """The outage is longer than gunicorn's `--timeout` for a silent worker."""
    count_for(standin, 35)  # longer than the outage, in which their endings could not be stored
    watchful = (*GUNICORN, "--timeout", "3")

    async with deployed(watchful, standin, tmp_path, DATABASE_URL=gate.url) as service:
        old = service.workers
        async with reading(service.client, 10) as readings:
            await gate.shut()
            service.send(signal.SIGHUP)
            await service.until_said("store_awaited", times=2)
            await asyncio.sleep(8)  # more than twice the timeout, in which no worker may be killed
            during = service.workers
            statuses = [(await service.client.get("/livez")).status_code for _ in range(5)]
            await gate.open()
        await service.until_said("lex_started", times=4)
        async with waiting():
            while set(service.workers) & set(old):
                await asyncio.sleep(0.05)
        answer = await service.client.post("/query", json={"query": "Hello"})

    assert set(old) <= set(during), "an old worker left before a new one served"
    assert statuses == [200] * 5
    assert all(each.ends_well for each in readings)
    assert parse(answer.text)[-1] == ("end", "")
    assert "WORKER TIMEOUT" not in service.log.read_text()


async def test_a_service_that_waits_can_be_stopped(
    gate: PostgresGate, standin: Standin, tmp_path: Path
) -> None:
    await gate.shut()
    for command in (GUNICORN, PLAIN):
        async with _starting(command, standin, tmp_path, DATABASE_URL=gate.url) as service:
            await service.until_said("store_awaited", times=1)
            service.send(signal.SIGTERM)
            assert await service.ended() == 0


@pytest.mark.parametrize("command", [PLAIN, UVICORN])
async def test_alone_it_lives_and_says_why_it_is_not_ready(
    command: tuple[str, ...], gate: PostgresGate, standin: Standin, tmp_path: Path
) -> None:
    await gate.shut()

    async with _starting(command, standin, tmp_path, DATABASE_URL=gate.url) as service:
        await service.until_said("store_awaited", times=1)
        async with waiting():
            while not (alive := await _status(service, "/livez")):
                await asyncio.sleep(0.05)
        health = await _status(service, "/health")
        readiness = await service.client.get("/readyz")
        refused = await service.client.post("/query", json={"query": "Hello"})
        as_stream = await service.client.get("/query", params={"query": "Hello"})
        waiting_workers = await _value(service, "lex_workers_waiting")
        await gate.open()
        await ready(service.client, service.process)
        answer = await service.client.post("/query", json={"query": "Hello"})

    assert (alive, health, readiness.status_code) == (200, 200, 503)
    assert readiness.json()["status"] == "waiting"
    assert readiness.json()["store_error"] == "The database is not available: connection refused."
    assert (refused.status_code, refused.json()["code"]) == (503, "storage_unavailable")
    assert [name for name, _ in parse(without_ids(as_stream.text))][-2:] == ["error", "end"]
    assert waiting_workers == 1
    assert parse(answer.text)[-1] == ("end", "")


async def _status(service: Deployed, path: str) -> int:
    try:
        return (await service.client.get(path)).status_code
    except httpx.TransportError:
        return 0


@pytest.mark.parametrize("command", [GUNICORN, PLAIN])
async def test_a_user_who_is_refused_ends_the_start_also_after_a_wait(
    command: tuple[str, ...], gate: PostgresGate, standin: Standin, tmp_path: Path
) -> None:
    url = make_url(gate.url).set(username="nobody", password="s3cret")
    text = url.render_as_string(hide_password=False)
    await gate.shut()

    async with _starting(command, standin, tmp_path, DATABASE_URL=text) as service:
        await service.until_said("store_awaited", times=1)
        await gate.open()
        code = await service.ended()

    log = service.log.read_text()
    line = "lex: DATABASE_URL cannot be used: The server refuses this user or password."
    assert code == 3
    assert line in log
    assert "s3cret" not in log
    assert "nobody" not in log


async def test_a_replacement_that_is_refused_does_not_stop_those_that_serve(
    postgres: PostgresServer, standin: Standin, tmp_path: Path
) -> None:
    with postgres.database() as url:
        async with deployed(GUNICORN, standin, tmp_path, DATABASE_URL=url) as service:
            victim, survivor = service.workers
            with _of_another_product(url):
                os.kill(victim, signal.SIGKILL)
                await service.until_said("worker_not_started", times=1)
                status = (await service.client.get("/livez")).status_code
                is_there = survivor in service.workers
            await service.until_said("lex_started", times=3)

    assert (status, is_there) == (200, True)


async def test_a_replacement_whose_start_breaks_after_a_wait_makes_room_for_another(
    postgres: PostgresServer, standin: Standin, tmp_path: Path
) -> None:
    with postgres.database() as url:
        async with (
            postgres_gate(url) as gate,
            deployed(GUNICORN, standin, tmp_path, DATABASE_URL=gate.url) as service,
        ):
            victim, survivor = service.workers
            await gate.shut()
            os.kill(victim, signal.SIGKILL)
            await service.until_said("store_awaited", times=1)
            execute(url, "UPDATE dealerships SET hours = '5'")
            await gate.open()
            await service.until_said("worker_not_started", times=1)
            status = (await service.client.get("/livez")).status_code
            is_there = survivor in service.workers

    (broken,) = service.lines("start_broke")
    assert broken["level"] == "error"
    assert (status, is_there) == (200, True)
