"""Logs, metrics, traces and problem details contain no prompt, user id or credential."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from websockets.asyncio.client import connect

from infrastructure.groq_standin import Standin
from infrastructure.ports import free_port
from tests.credentials import COOKIE_SECRET, key_file
from tests.deploy.servers import GUNICORN, PLAIN
from tests.processes import NO_TLS, ROOT, environment, process, ready
from tests.waiting import waiting

UVICORN = ("-m", "uvicorn", "backend.main:app")

MARK = "xyzzy"
"""Part of every value that must not appear anywhere."""

KEY, USER, SAID = f"lex_{MARK}_key", f"{MARK}-user", f"my {MARK} question"
HEADERS = {"Authorization": f"Bearer {KEY}", "X-User-Id": USER}


@pytest.mark.parametrize(
    "command", [PLAIN, GUNICORN, UVICORN], ids=["plain", "gunicorn", "uvicorn"]
)
async def test_nothing_is_told_of_people_even_at_debug(
    command: Sequence[str], tmp_path: Path
) -> None:
    port, output = free_port(), tmp_path / "output"
    variables = {
        "PORT": str(port),
        "UVICORN_PORT": str(port),
        "LOG_LEVEL": "DEBUG",
        "UVICORN_LOG_LEVEL": "debug",
        "DATABASE_URL": f"sqlite:///{tmp_path}/lex.db",
        "AUTH": "api_key",
        "API_KEYS_FILE": str(key_file(tmp_path / "keys", **{KEY: None})),
        "SESSION_COOKIE_SECRET": f"{MARK} {COOKIE_SECRET}",
        "GROQ_API_KEY": f"gsk_{MARK}",
        "SUMMARY_IDLE_SECONDS": "0.2",
        "DRAIN_ACCEPT_SECONDS": "0",
    }
    async with Standin.serve() as standin:
        _teach(standin)
        variables["GROQ_BASE_URL"] = standin.url
        with output.open("wb") as stderr:
            async with (
                process(*command, variables=variables, stderr=stderr) as running,
                httpx.AsyncClient(
                    base_url=f"http://127.0.0.1:{port}", timeout=30, verify=NO_TLS
                ) as client,
            ):
                await ready(client, running)
                told = await _live_through_everything(client, standin)

    log = output.read_text()
    assert '"event": "turn_finished"' in log
    assert '"event": "session_summarized"' in log
    lines = [line for line in log.splitlines() if MARK in line]
    assert lines == []
    assert [line for line in told if MARK in line] == []


def _teach(standin: Standin) -> None:
    standin.script({"text": f"The {MARK} summary."}, contains="summ", times=None)
    standin.script(
        {"calls": [{"name": "get_weather", "arguments": {"city": f"{MARK} city"}}]},
        {"text": f"It is {MARK} there."},
        contains="weather",
    )
    standin.script({"text": f"The {MARK} answer."}, contains=MARK, times=None)


async def _live_through_everything(client: httpx.AsyncClient, standin: Standin) -> list[str]:
    """Cause every kind of output; return the problem details and metrics."""
    ask: dict[str, Any] = {"query": SAID, "session_id": "s1"}
    idempotent = {**HEADERS, "Idempotency-Key": f"{MARK}-idempotency"}
    assert (await client.post("/query", json=ask, headers=idempotent)).status_code == 200
    weather = {"query": f"The weather in {MARK}?", "session_id": "s1", "resume": True}
    assert (await client.post("/query", json=weather, headers=HEADERS)).status_code == 200
    assert (await client.get(f"/query?query={quote(SAID)}", headers=HEADERS)).status_code == 200
    cookie = (await client.post("/auth/session", headers=HEADERS)).headers["set-cookie"]
    standin.script({"fault": {"kind": "status", "status": 400, "message": MARK}}, times=1)
    await client.post("/query", json=ask, headers=HEADERS)
    await _converse(client)
    refused = [
        await client.post("/query", json={**ask, "session_id": f"{MARK} {MARK}"}, headers=HEADERS),
        await client.post("/query", content=f'{{"{MARK}": "{MARK}', headers=HEADERS),
        await client.post("/query", json={"query": {MARK: MARK}}, headers=HEADERS),
        await client.post("/query", json={**ask, "resume": MARK}, headers=HEADERS),
        await client.get(f"/nowhere?{MARK}", headers=HEADERS),
        await client.get("/sessions/s1/messages?cursor=" + MARK, headers=HEADERS),
        await client.post("/sessions", headers={"Authorization": f"Bearer {MARK}"}),
        await client.post("/sessions", headers={"Cookie": cookie.partition(";")[0]}),
        await client.post("/sessions", headers={**HEADERS, "X-User-Id": f"{MARK} blank"}),
    ]
    assert {answer.status_code for answer in refused} <= {401, 404, 422}
    await _until_summarized(client)
    assert (await client.delete("/sessions/s1", headers=HEADERS)).status_code == 204
    metrics = await client.get("/metrics")
    return [*(answer.text for answer in refused), metrics.text]


async def _converse(client: httpx.AsyncClient) -> None:
    url = f"{client.base_url}/ws/sessions/s2?token={MARK}".replace("http", "ws", 1)
    async with connect(url, additional_headers=HEADERS, proxy=None) as socket:
        for text in ('{"type": "' + MARK + '"}', '{"type": "query", "query": 5, "x": "xyzzy"}'):
            await socket.send(text)
            refusal = json.loads(await socket.recv())
            assert MARK not in json.dumps(refusal)
        await socket.send(SAID)
        while json.loads(await socket.recv())["type"] != "end":
            pass


async def _until_summarized(client: httpx.AsyncClient) -> None:
    async with waiting():
        while True:
            session = (await client.get("/sessions/s1", headers=HEADERS)).json()
            if session["summary"] is not None:
                return
            await asyncio.sleep(0.1)


DEFECT = """
import sys, structlog
from backend.telemetry.logging import configure_logging
from tests.waiting import waiting
configure_logging(level="DEBUG", style=sys.argv[1])
logger = structlog.get_logger("backend.test")
def answer(said):
    try:
        {}[said]
    except KeyError as error:
        try:
            raise ConnectionRefusedError("nobody listens")
        except OSError:
            raise ExceptionGroup("several", [ValueError(said)])
try:
    answer("xyzzy")
except ExceptionGroup:
    logger.exception("turn_broke")
logger.info("odd", text="one\\nbackend.test forged\\x1b[2J\\u2028two")
"""


@pytest.mark.parametrize("style", ["json", "text"])
def test_a_traceback_tells_where_and_not_what_and_a_line_is_one_line(style: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", DEFECT, style],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )

    assert MARK not in ran.stderr.replace('answer("xyzzy")', "")
    for told in (
        "KeyError",
        "ConnectionRefusedError: nobody listens",
        "ExceptionGroup",
        "in answer",
    ):
        assert told in ran.stderr
    *_, last = ran.stderr.splitlines()
    assert "forged" in last
    assert "\x1b[2J" not in ran.stderr
    if style == "json":
        assert json.loads(last)["text"] == "one\nbackend.test forged\x1b[2J\u2028two"
