"""The service is stopped or reloaded while streams are open."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from infrastructure.groq_standin import Standin
from tests.deploy.restarts import (
    assert_a_reload_loses_nothing,
    assert_a_successor_takes_over,
    assert_no_force,
)
from tests.deploy.servers import GUNICORN, PLAIN, Deployed, count_for, deployed, is_running, reading
from tests.processes import ROOT, environment
from tests.raw import connected
from tests.serving import ids_of, outcome_of, parse, without_ids
from tests.waiting import LIMIT_SECONDS, waiting


async def test_a_reload_loses_no_stream_and_refuses_none(standin: Standin, tmp_path: Path) -> None:
    await assert_a_reload_loses_nothing(standin, tmp_path, streams=40, seconds=3)


async def test_workers_serve_until_those_that_replace_them_do(
    standin: Standin, tmp_path: Path
) -> None:
    async with deployed(GUNICORN, standin, tmp_path) as service:
        with closing(sqlite3.connect(tmp_path / "lex.db", isolation_level=None)) as database:
            database.execute("BEGIN EXCLUSIVE")  # for which new workers wait
            service.send(signal.SIGHUP)
            await service.until_said("server_leaving", times=2)
            statuses = [await _ask_anew(service) for _ in range(5)]
            metrics = (await service.client.get("/metrics")).text
            started = len(service.lines("lex_started"))
            database.execute("ROLLBACK")
        await service.until_said("lex_started", times=4)
        async with waiting():
            while len(service.workers) > 2:
                await asyncio.sleep(0.05)

    assert (statuses, started) == ([200] * 5, 2)
    assert "\nlex_draining 0.0\n" in metrics, "a worker is draining"
    assert_no_force(service)


async def _ask_anew(service: Deployed) -> int:
    async with connected(service.port) as client:
        await client.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return int((await client.head()).split()[1])


async def test_a_server_that_leaves_says_so_and_ends_every_stream(
    command: Sequence[str], standin: Standin, tmp_path: Path
) -> None:
    await assert_a_successor_takes_over(command, standin, tmp_path, streams=40, seconds=5)


async def test_a_question_on_its_way_to_a_server_that_leaves_is_answered(
    standin: Standin, tmp_path: Path
) -> None:
    """One client has only connected, and another has sent half of its request."""
    count_for(standin, 5)
    begun, rest = b"GET /livez HTTP/1.1\r\nHo", b"st: lex\r\n\r\n"

    async with (
        deployed(PLAIN, standin, tmp_path) as service,
        reading(service.client, 1) as [stream],
        connected(service.port) as idle,
        connected(service.port) as asking,
        connected(service.port) as silent,
        connected(service.port) as fresh,
    ):
        for kept in (idle, asking):
            await kept.send(begun + rest)
            await kept.head()
        await asking.send(begun)
        service.send(signal.SIGTERM)
        await idle.rest()
        await fresh.send(begun + rest)
        await asking.send(rest)
        answers = [await each.rest() for each in (fresh, asking)]
        nothing = await silent.rest()
        was_open = not stream.ended_at
        await service.ended()

    assert [b"HTTP/1.1 200" in answer for answer in answers] == [True, True], answers
    assert all(b"connection: close" in answer for answer in answers)
    assert nothing == b""
    assert was_open, "connections were closed while the turns drained"
    assert_no_force(service)


async def test_a_probe_by_head_hears_that_the_server_leaves_and_old_ones_hear_it_once(
    standin: Standin, tmp_path: Path
) -> None:
    count_for(standin, 5)
    probe = b"HEAD /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    old_probe = b"GET /readyz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"

    async with (
        deployed(PLAIN, standin, tmp_path) as service,
        reading(service.client, 1),
        connected(service.port) as first,
        connected(service.port) as second,
        connected(service.port) as old,
    ):
        await first.send(probe)
        before = await first.head()
        service.send(signal.SIGTERM)
        await service.until_said("server_leaving", times=1)
        await second.send(probe)
        after = await second.rest()
        await old.send(old_probe)
        body = await old.rest()
        await service.ended()

    assert before.startswith(b"HTTP/1.1 200 ")
    assert after.startswith(b"HTTP/1.1 503 ")
    assert after.endswith(b"\r\n\r\n")
    for answer in (after, body):
        assert answer.lower().count(b"\r\nconnection: ") == 1
        assert b"\r\nconnection: close\r\n" in answer
    assert b'"status":"draining"' in body


async def test_streams_that_outlast_the_drain_end_with_an_error_and_are_stored(
    command: Sequence[str], standin: Standin, tmp_path: Path
) -> None:
    count_for(standin, 60)
    short = {"DRAIN_SECONDS": "0.5"}

    async with deployed(command, standin, tmp_path, **short) as service:
        async with reading(service.client, 5) as readings:
            service.send(signal.SIGTERM)
        code = await service.ended()
    async with deployed(command, standin, tmp_path) as successor:
        turns = [(await successor.client.get(f"/turns/{each.turn_id}")).json() for each in readings]

    assert all(each.ends for each in readings)
    assert all('"code": "server_draining"' in each.events[-3][1] for each in readings)
    assert {outcome_of(each.events)["outcome"] for each in readings} == {"cancelled"}
    assert {(turn["outcome"], turn["error_code"]) for turn in turns} == {
        ("cancelled", "server_draining")
    }
    assert code == 0
    assert_no_force(service)


async def test_a_second_signal_shortens_the_drain_to_nothing(
    command: Sequence[str], standin: Standin, tmp_path: Path
) -> None:
    count_for(standin, 60)

    async with (
        deployed(command, standin, tmp_path) as service,
        reading(service.client, 5) as readings,
    ):
        service.send(signal.SIGTERM)
        await asyncio.sleep(0.3)
        service.send(signal.SIGTERM)
        async with waiting():
            code = await service.ended()

    assert all(each.ends for each in readings)
    assert all('"code": "server_draining"' in each.events[-3][1] for each in readings)
    assert {outcome_of(each.events)["outcome"] for each in readings} == {"cancelled"}
    assert code == 0
    assert_no_force(service)


async def test_a_worker_too_many_finishes_its_streams_however_often_it_is_told_to_go(
    standin: Standin, tmp_path: Path
) -> None:
    """The arbiter repeats SIGTERM every second, and kills a worker that does not notify it."""
    count_for(standin, 4)
    watchful = (*GUNICORN, "--timeout", "2")

    async with deployed(watchful, standin, tmp_path) as service:
        async with reading(service.client, 20) as readings:
            service.send(signal.SIGTTOU)
        async with waiting():
            while len(service.workers) > 1:
                await asyncio.sleep(0.05)
        probe = await service.client.get("/readyz")

    assert all(each.ends_well for each in readings)
    assert probe.status_code == 200
    assert_no_force(service)


async def test_the_end_of_the_service_is_heard_in_the_middle_of_a_reload(
    standin: Standin, tmp_path: Path
) -> None:
    count_for(standin, 60)

    async with (
        deployed(GUNICORN, standin, tmp_path) as service,
        deployed(PLAIN, standin, tmp_path) as other,
    ):
        async with reading(service.client, 20) as readings:
            service.send(signal.SIGHUP)
            await service.until_said("lex_started", times=4)
            service.send(signal.SIGTERM)
            await service.until_said("server_leaving", times=4)
            has_ended = [each for each in readings if each.ended_at]
            for each in readings:
                await other.client.delete(f"/turns/{each.turn_id}")
        async with waiting():
            code = await service.ended()

    assert has_ended == [], "the new workers did not get the signal before the old ones ended"
    assert all(each.ends_well for each in readings)
    assert code == 0
    assert "SIGKILL" not in service.log.read_text()


async def test_workers_whose_arbiter_was_killed_finish_their_streams_and_go(
    standin: Standin, tmp_path: Path
) -> None:
    count_for(standin, 2)

    async with deployed(GUNICORN, standin, tmp_path) as service:
        workers = service.workers
        async with reading(service.client, 5) as readings:
            os.kill(service.process.pid, signal.SIGKILL)
        async with waiting():
            while any(is_running(pid) for pid in workers):
                await asyncio.sleep(0.05)

    assert all(each.ends_well for each in readings)


@pytest.mark.parametrize(
    ("arguments", "variables", "line"),
    [
        (["--graceful-timeout", "30"], {}, "lex: graceful_timeout of 30 s is too short: DRAIN_"),
        (
            [],
            {"PRE_STOP_SECONDS": "5", "TERMINATION_GRACE_SECONDS": "60"},
            "lex: TERMINATION_GRACE_SECONDS of 60 is too short: PRE_STOP_SECONDS and",
        ),
        ([], {"PRE_STOP_SECONDS": "soon"}, "lex: PRE_STOP_SECONDS cannot be used: "),
        ([], {"DRAIN_SECONDS": "-1"}, "lex: DRAIN_SECONDS cannot be used: "),
        ([], {"WEB_CONCURRENCY": "0"}, "lex: WEB_CONCURRENCY cannot be used: "),
        ([], {"PORT": "http"}, "lex: PORT cannot be used: "),
    ],
)
def test_what_cannot_be_used_or_does_not_fit_is_refused_with_one_line(
    arguments: list[str], variables: dict[str, str], line: str
) -> None:
    finished = subprocess.run(
        [sys.executable, *GUNICORN, *arguments],
        cwd=ROOT,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )

    *before, last = finished.stderr.splitlines()
    assert finished.returncode == 1
    assert last.startswith(line)
    assert all("Starting gunicorn" in other for other in before)


async def test_who_reads_a_turn_of_another_worker_is_sent_there_when_its_own_leaves(
    standin: Standin, tmp_path: Path
) -> None:
    count_for(standin, 4)
    body = {"query": "Count", "session_id": "s1", "resume": True}

    async with (
        deployed(PLAIN, standin, tmp_path) as stays,
        deployed(PLAIN, standin, tmp_path) as leaves,
    ):
        async with stays.client.stream("POST", "/query", json=body) as asked:
            turn_id = asked.headers["x-turn-id"]
            url = f"/turns/{turn_id}/events"
            async with leaves.client.stream("GET", url) as followed:
                leaves.send(signal.SIGTERM)
                async with waiting():
                    told = (await followed.aread()).decode()
                code = await leaves.ended()
            headers = {"Last-Event-ID": ids_of(told)[-1]}
            rest = (await stays.client.get(url, headers=headers)).text
        whole = (await stays.client.get(url)).text

    (error, data), end = parse(without_ids(told))
    assert (error, json.loads(data)["code"], end) == ("error", "server_draining", ("end", ""))
    assert rest == whole
    assert code == 0
    assert_no_force(leaves)
