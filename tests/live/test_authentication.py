"""Authentication over time: several processes, changing keys, an unavailable issuer."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from infrastructure.groq_standin import Standin
from infrastructure.ports import free_port
from tests.credentials import (
    COOKIE_SECRET,
    WITH_SECRET,
    as_environment,
    bearer,
    elliptic,
    issuer,
    key_file,
    token,
    with_key_file,
    with_keys,
)
from tests.processes import NO_TLS, ROOT, ended, lex_process, process, ready
from tests.serving import lex, parse
from tests.waiting import waiting

PAGE = "http://localhost:3000"
BODY = {"query": "Hello", "session_id": "s1"}


@pytest.fixture
async def standin() -> AsyncIterator[Standin]:
    async with Standin.serve() as running:
        yield running


def variables(standin: Standin, folder: Path, **settings: Any) -> dict[str, str]:
    given = {"groq_base_url": standin.url, "database_url": f"sqlite:///{folder}/lex.db", **settings}
    return as_environment(given)


async def cookie(client: httpx.AsyncClient, headers: dict[str, str]) -> dict[str, str]:
    exchanged = await client.post("/auth/session", headers=headers)
    assert exchanged.status_code == 200, exchanged.text
    client.cookies.clear()
    return {"Cookie": exchanged.headers["set-cookie"].partition(";")[0], "Origin": PAGE}


async def status(client: httpx.AsyncClient, headers: dict[str, str]) -> int:
    return (await client.post("/sessions", headers=headers)).status_code


async def until(client: httpx.AsyncClient, headers: dict[str, str], wanted: int) -> None:
    async with waiting():
        while await status(client, headers) != wanted:
            await asyncio.sleep(0.05)


# --- several processes -----------------------------------------------------------------------


async def test_two_processes_take_each_others_cookies_also_after_a_restart(
    standin: Standin, tmp_path: Path
) -> None:
    given = variables(standin, tmp_path, **WITH_SECRET)
    other_secret = {**given, "SESSION_COOKIE_SECRET": "n" * 32}
    replaced = {**given, "SESSION_COOKIE_SECRET": f"{'n' * 32},{COOKIE_SECRET}"}

    async with lex_process(**given) as one, lex_process(**given) as other:
        made = await cookie(one, bearer(token("alice")))
        asked = await one.post("/query", json=BODY, headers=made)
        seen = await other.get("/sessions/s1", headers=made)
    async with lex_process(**replaced) as client:
        restarted = await client.get("/sessions/s1", headers=made)
    async with lex_process(**other_secret) as client:
        stranger = await status(client, made)

    assert parse(asked.text)[-1] == ("end", "")
    assert seen.status_code == 200
    assert restarted.status_code == 200
    assert stranger == 401


async def test_keys_are_replaced_in_all_processes_while_they_serve(
    standin: Standin, tmp_path: Path
) -> None:
    path = key_file(tmp_path / "keys.json", old="alice", gateway=None)
    given = variables(standin, tmp_path, **with_key_file(path))
    statuses: list[int] = []

    async with lex_process(**given) as one, lex_process(**given) as other:
        by_old = await cookie(one, bearer("old"))
        by_gateway = await cookie(one, bearer("gateway", **{"X-User-Id": "alice"}))

        async def ask_all_the_time() -> None:
            while True:
                statuses.append(await status(one, bearer("old")))

        asking = asyncio.create_task(ask_all_the_time())
        key_file(path, old="alice", new="alice", gateway=None)
        for client in (one, other):
            await until(client, bearer("new"), 201)
        asking.cancel()
        await asyncio.wait([asking])
        key_file(path, new="alice", gateway=None)
        for client in (one, other):
            await until(client, bearer("old"), 401)

        after = [
            await status(client, headers)
            for client in (one, other)
            for headers in (bearer("new"), by_old, by_gateway)
        ]

    assert set(statuses) == {201}
    assert after == [201, 401, 201] * 2


async def test_a_broken_file_keeps_the_keys_and_an_open_socket_loses_its_own(
    tmp_path: Path,
) -> None:
    path = key_file(tmp_path / "keys.json", key="alice", other="bob")
    async with lex(**with_key_file(path)) as service:
        url = f"{service.url.replace('http', 'ws')}/ws/sessions/s1"
        async with connect(url, proxy=None, additional_headers=bearer("key")) as socket:
            with capture_logs() as lines:
                path.write_text("{")
                async with waiting():
                    while "api_keys_not_reloaded" not in str(lines):
                        await asyncio.sleep(0.05)
            broken = await status(service.client, bearer("key"))
            key_file(path, other="bob")
            await until(service.client, bearer("key"), 401)
            await socket.send("Hello")
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()

    assert broken == 201
    assert closed.value.rcvd
    assert closed.value.rcvd.code == 1008
    assert service.standin.stats.requests == 0


async def test_a_new_key_works_as_its_command_prints_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "backend.api.auth.new_key", "web page", "--user", "alice"]
    finished = await asyncio.to_thread(
        subprocess.run, command, cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = re.fullmatch(r"Key for .*?: +(lex_\S+)\nEntry for .*?: +(\{.*\})\n", finished.stdout)
    assert found
    key, entry = found.groups()
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": [json.loads(entry)]}))

    async with lex(**with_key_file(path)) as service:
        assert await status(service.client, bearer(key)) == 201
    assert key not in path.read_text()


@pytest.mark.parametrize(
    "arguments", [["x"], ["x", "--user", "a b"], ["x", "--user", "a", "--trusted"], []]
)
def test_a_new_key_needs_to_speak_for_somebody(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "backend.api.auth.new_key", *arguments]

    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert finished.returncode == 2
    assert finished.stdout == ""
    assert "Traceback" not in finished.stderr


# --- an issuer with public keys --------------------------------------------------------------


async def test_tokens_of_an_issuer_are_taken_and_made_up_keys_do_not_bother_it() -> None:
    key = elliptic("one")
    async with issuer(key) as published, lex(**with_keys(published.url)) as service:
        first = await status(service.client, bearer(key.token("alice")))
        forged = [
            await status(service.client, bearer(elliptic(f"made-up-{n}").token("alice")))
            for n in range(20)
        ]
        again = await status(service.client, bearer(key.token("alice")))

    assert (first, again) == (201, 201)
    assert forged == [401] * 20
    assert published.requests == 1


async def test_an_issuer_that_is_away_at_the_start_is_waited_for_with_503() -> None:
    key = elliptic("one")
    port = free_port()
    headers = bearer(key.token("alice"))
    async with lex(**with_keys(f"http://127.0.0.1:{port}/keys")) as service:
        away = await service.client.post("/query", json=BODY, headers=headers)
        probe = await service.client.get("/readyz")
        nobody = await status(service.client, {})
        async with issuer(key, port=port):
            await until(service.client, headers, 201)
        afterwards = await status(service.client, headers)

    assert away.status_code == 503
    assert away.json()["code"] == "identity_unavailable"
    assert away.headers["retry-after"] == "5"
    assert probe.status_code == 200
    assert nobody == 401
    assert afterwards == 201


# --- start-ups that must fail ----------------------------------------------------------------


GOOD = as_environment(WITH_SECRET)
KEYED = {"AUTH": "api_key", "SESSION_COOKIE_SECRET": COOKIE_SECRET}


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"AUTH": "basic"}, "lex: AUTH cannot be used: "),
        ({**GOOD, "CORS_ORIGINS": "*"}, "lex: CORS_ORIGINS cannot be * with AUTH=jwt"),
        ({**KEYED, "API_KEYS_FILE": ""}, "lex: API_KEYS_FILE is not set, and AUTH=api_key needs"),
        (
            {**KEYED, "API_KEYS_FILE": "/nowhere/keys"},
            "lex: API_KEYS_FILE cannot be used: /nowhere",
        ),
        ({**KEYED, "API_KEYS_FILE": "pyproject.toml"}, "lex: API_KEYS_FILE cannot be used: pypro"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_start_without_usable_authentication_fails_and_says_why_in_one_line(
    given: dict[str, str], line: str, tmp_path: Path
) -> None:
    command = ("-m", "backend.server", "--port", "0")

    finished = await ended(*command, folder=tmp_path, DATABASE_URL="memory://", **given)

    assert finished.code != 0
    assert line in finished.stderr
    assert "Traceback" not in finished.stderr
    assert sum("lex: " in each for each in finished.stderr.splitlines()) == 1


# --- logs and warnings -----------------------------------------------------------------------


@asynccontextmanager
async def logged(path: Path, given: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    """Run a worker that logs to a file."""
    port = str(free_port())
    command = ("-m", "backend.server", "--port", port)
    with path.open("wb") as log:
        async with (
            process(
                *command, variables={**given, "DRAIN_ACCEPT_SECONDS": "0"}, stderr=log
            ) as running,
            httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", timeout=60, verify=NO_TLS
            ) as client,
        ):
            await ready(client, running)
            yield client


async def test_no_log_line_metric_or_refusal_has_a_key_a_token_or_a_user_in_it(
    standin: Standin, tmp_path: Path
) -> None:
    path = key_file(tmp_path / "keys.json", lex_own_key="alice-user", lex_gate_key=None)
    given = variables(standin, tmp_path, **with_key_file(path), log_level="DEBUG")
    strange = {"X-User-Id": "bob-user"}
    told: list[str] = []

    async with logged(tmp_path / "log", given) as client:
        made = await cookie(client, bearer("lex_own_key"))
        for headers in (
            bearer("lex_own_key"),
            bearer("lex_gate_key", **strange),
            bearer("lex_own_key", **strange),
            bearer("lex_bad_key", **strange),
            {**made, "Origin": "https://evil.example"},
            made,
        ):
            answers = [
                await client.post("/query", json=BODY, headers=headers),
                await client.get("/query?query=Hello", headers=headers),
                await client.get("/sessions/s1", headers=headers),
                await client.get("/turns/0123456789abcdef", headers=headers),
            ]
            told += [answer.text for answer in answers]
        told.append((await client.get("/metrics")).text)
        told.append((await client.get("/readyz")).text)
    lines = (tmp_path / "log").read_text()

    assert '"event": "turn_finished"' in lines
    sealed = made["Cookie"].partition("=")[2]
    for secret in ("lex_own_key", "lex_gate_key", "lex_bad_key", "alice-user", "bob-user", sealed):
        assert secret not in lines
        assert all(secret not in text for text in told)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, ("none", "the user that the model names")),
        (GOOD, ("jwt", "the caller")),
    ],
)
async def test_the_start_says_for_whom_tools_act(
    standin: Standin, tmp_path: Path, given: dict[str, str], told: tuple[str, str]
) -> None:
    async with logged(tmp_path / "log", {**variables(standin, tmp_path), **given}):
        pass
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    (started,) = [line for line in lines if line["event"] == "lex_started"]

    assert (started["auth"], started["tools_act_for"]) == told
