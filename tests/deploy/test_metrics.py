"""Metrics are right with any number of workers, also if workers end or are killed."""

import asyncio
import itertools
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest
from prometheus_client.mmap_dict import MmapedDict

from infrastructure.groq_standin import Standin
from infrastructure.ports import free_port
from tests.deploy.servers import GUNICORN, PLAIN, Deployed, count_for, deployed, read, reading
from tests.deploy.servers import Reading as Stream
from tests.processes import process
from tests.scraping import Scrape, scrape
from tests.waiting import waiting, within_limit

TURNS = 12


async def ask(service: Deployed) -> None:
    """Ask once on a new connection, so that all workers get a share."""
    unkept = httpx.Limits(max_keepalive_connections=0)
    url = service.client.base_url
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=unkept) as client:
        streams = [read(client, Stream(), f"m{number}") for number in range(TURNS)]
        assert all(each.ends_well for each in await asyncio.gather(*streams))


async def counted(service: Deployed, turns: int) -> Scrape:
    """Scrape until this many turns are counted, a moment after their streams have ended."""
    async with waiting():
        while True:
            seen = await scrape(service.client)
            if seen.value("lex_turns_total") >= turns and seen.value("lex_streams_open") == 0:
                return seen
            await asyncio.sleep(0.05)


def assert_turns(seen: Scrape, turns: int) -> None:
    """Check that every metric of a turn with one round was counted this many times."""
    assert seen.value("lex_turns_total", outcome="completed", transport="sse") == turns
    assert seen.value("lex_turns_total") == turns
    assert seen.value("gen_ai_invoke_agent_duration_seconds_count") == turns
    assert seen.value("lex_turn_rounds_sum") == turns
    assert seen.value("lex_overhead_seconds_count") == turns
    assert seen.value("lex_time_to_first_chunk_seconds_count", transport="sse") == turns
    assert seen.value("lex_upstream_attempts_total", outcome="ok") == turns
    assert seen.value("gen_ai_client_operation_duration_seconds_count", error_type="") == turns
    assert seen.value("gen_ai_client_token_usage_count", gen_ai_token_type="output") == turns
    assert seen.value("lex_store_transaction_seconds_count", operation="claim") == turns
    assert seen.value("lex_store_transaction_seconds_count", operation="finish") == turns
    assert seen.value("lex_stream_disconnects_total") == 0
    assert seen.value("lex_followers") == 0


@pytest.mark.parametrize(
    ("command", "workers"), [(PLAIN, 1), (GUNICORN, 2)], ids=["one worker", "two workers"]
)
async def test_after_so_many_turns_the_counters_say_so_many(
    command: Sequence[str], workers: int, standin: Standin, tmp_path: Path
) -> None:
    count_for(standin, 0.2)

    async with deployed(command, standin, tmp_path) as service:
        before = await scrape(service.client)
        await ask(service)
        seen = await counted(service, TURNS)
        pids = {str(pid) for pid in service.workers}

    assert before.value("lex_turns_total") == 0
    assert_turns(seen, TURNS)
    assert seen.value("lex_slots_free") == workers * 2000
    assert seen.value("lex_store_up") == 1
    assert seen.value("process_resident_memory_bytes") > workers * 30e6
    assert seen.value("process_cpu_seconds_total") > workers * 0.1
    assert workers == 1 or set(seen.values("process_open_fds", "pid")) == pids


async def test_the_sum_is_of_workers_that_each_counted_some(
    standin: Standin, tmp_path: Path
) -> None:
    """The kernel chooses the worker of a connection, so this asks until each had some."""
    count_for(standin, 0.2)
    counts = tmp_path / "counts"
    given = {"PROMETHEUS_MULTIPROC_DIR": str(counts)}

    async with deployed(GUNICORN, standin, tmp_path, **given) as service, waiting():
        for turns in itertools.count(TURNS, TURNS):
            await ask(service)
            seen = await counted(service, turns)
            shares = [turns_in(counts / f"counter_{pid}.db") for pid in service.workers]
            assert_turns(seen, turns)
            assert sum(shares) == turns
            assert len(shares) == 2
            if min(shares) > 0:
                break


def turns_in(path: Path) -> float:
    """The turns that one worker has counted."""
    kept = MmapedDict.read_all_values_from_file(path)  # type: ignore[no-untyped-call]
    return sum(float(value) for key, value, *_ in kept if "lex_turns_total" in key)


async def test_nothing_is_lost_when_workers_are_replaced(standin: Standin, tmp_path: Path) -> None:
    count_for(standin, 12)

    async with deployed(GUNICORN, standin, tmp_path) as service:
        before = service.workers
        async with reading(service.client, TURNS) as readings:
            service.send(signal.SIGHUP)
            during = await scrape(service.client)
            async with waiting():
                while not during.value("lex_draining"):
                    during = await scrape(service.client)
        async with waiting():
            while set(service.workers) & set(before):
                await asyncio.sleep(0.05)
        await ask(service)
        seen = await counted(service, 2 * TURNS)

    assert all(each.ends_well for each in readings)
    assert during.value("lex_streams_open", transport="sse") == TURNS
    assert during.value("lex_draining") == 1
    assert during.value("lex_drain_started_timestamp_seconds") > 0
    assert_turns(seen, 2 * TURNS)
    assert seen.value("lex_draining") == 0
    assert seen.value("lex_drain_started_timestamp_seconds") == 0
    assert seen.value("lex_slots_free") == 2 * 2000


async def test_what_a_killed_worker_counted_stays_and_what_it_was_doing_does_not(
    standin: Standin, tmp_path: Path
) -> None:
    count_for(standin, 3)
    standin.script({"text": "1 2 3"}, contains="Count", times=TURNS)

    async with deployed(GUNICORN, standin, tmp_path) as service:
        await ask(service)
        victim, survivor = service.workers
        async with reading(service.client, TURNS):
            during = await scrape(service.client)
            os.kill(victim, signal.SIGKILL)
        await service.until_said("lex_started", times=3)
        seen = await counted(service, TURNS)

    lost = 2 * TURNS - seen.value("lex_turns_total")
    assert survivor
    assert during.value("lex_streams_open") == TURNS
    assert 0 <= lost <= TURNS
    assert_turns_without(seen, lost)


def assert_turns_without(seen: Scrape, lost: float) -> None:
    turns = 2 * TURNS - lost
    assert seen.value("lex_turns_total", outcome="completed") == turns
    assert seen.value("lex_store_transaction_seconds_count", operation="finish") == turns
    assert seen.value("lex_store_transaction_seconds_count", operation="claim") == 2 * TURNS
    assert seen.value("lex_streams_open") == seen.value("lex_followers") == 0
    assert seen.value("lex_slots_free") == 2 * 2000


async def test_what_was_counted_before_the_start_is_forgotten(
    standin: Standin, tmp_path: Path
) -> None:
    """The directory is the operator's, so other files in it stay untouched."""
    count_for(standin, 0.2)
    counts = tmp_path / "counts"
    given = {"PROMETHEUS_MULTIPROC_DIR": str(counts)}

    async with deployed(GUNICORN, standin, tmp_path, **given) as service:
        await ask(service)
        first = await counted(service, TURNS)
    database = counts / "of_somebody_else.db"
    database.touch()
    async with deployed(GUNICORN, standin, tmp_path, **given) as service:
        database.unlink()
        second = await scrape(service.client)

    assert_turns(first, TURNS)
    assert second.value("lex_turns_total") == 0


async def test_a_client_that_does_not_read_is_slow_and_has_not_left(
    standin: Standin, tmp_path: Path
) -> None:
    text = " ".join(["x" * 2048] * 20_000)
    standin.script({"text": text, "tokens_per_second": 2000}, times=None)
    body = b'{"query": "Tell me everything"}'

    async with deployed(PLAIN, standin, tmp_path, SEND_TIMEOUT_SECONDS="1") as service:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", service.port))
            client.sendall(
                b"POST /query HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
                b"content-length: %d\r\n\r\n%b" % (len(body), body)
            )
            await service.until_said("slow_client", times=1)
            seen = await counted(service, 1)

    assert seen.value("lex_slow_clients_total") == 1
    assert seen.value("lex_stream_disconnects_total") == 0


async def test_a_metrics_port_that_is_taken_stops_the_start_with_one_line(
    standin: Standin, tmp_path: Path
) -> None:
    with socket.socket() as taken, (tmp_path / "stderr").open("w+b") as stderr:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        variables = {
            "PORT": str(free_port()),
            "METRICS_PORT": str(taken.getsockname()[1]),
            "GROQ_BASE_URL": standin.url,
            "DATABASE_URL": "memory://",
        }
        async with process(*PLAIN, variables=variables, stderr=stderr) as service:
            code = await within_limit(service.wait())
        last = (tmp_path / "stderr").read_text().splitlines()[-1]

    assert code == 1
    assert last.startswith("lex: METRICS_PORT cannot be used: ")


async def test_metrics_have_a_port_of_their_own_to_the_end_of_a_drain(
    command: Sequence[str], standin: Standin, tmp_path: Path
) -> None:
    count_for(standin, 3)
    port = free_port()

    async with deployed(command, standin, tmp_path, METRICS_PORT=str(port)) as service:
        url = f"http://127.0.0.1:{port}"
        apart = await scrape(service.client, f"{url}/metrics")
        public = await service.client.get("/metrics")
        elsewhere = await service.client.post(f"{url}/query", json={"query": "Hello"})
        async with reading(service.client, 4):
            service.send(signal.SIGTERM)
            await service.until_said("server_leaving", times=len(service.workers))
            draining = await scrape(service.client, f"{url}/metrics")
        code = await service.ended()

    assert apart.value("lex_turns_total") == 0
    assert (public.status_code, public.json()["code"]) == (404, "not_found")
    assert (elsewhere.status_code, elsewhere.json()["code"]) == (404, "not_found")
    assert draining.value("lex_draining") == 1
    assert draining.value("lex_streams_open") == 4
    assert code == 0
