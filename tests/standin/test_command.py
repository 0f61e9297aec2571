"""The stand-in's command prints its address, serves, and stops on a signal."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.waiting import within_limit

from .raw import ask, exchange, request

ROOT = Path(__file__).parents[2]


async def start(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "infrastructure.groq_standin", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip


async def line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await within_limit(process.stdout.readline())).decode()


@pytest.fixture
async def process() -> AsyncIterator[asyncio.subprocess.Process]:
    process = await start("--port", "0", "--demo-tokens-per-second", "5000")
    yield process
    if process.returncode is None:
        process.kill()
    await process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_says_where_it_listens_serves_and_stops_cleanly(
    process: asyncio.subprocess.Process, number: signal.Signals
) -> None:
    said = await line(process)
    match = re.fullmatch(
        r"groq-standin listening on (http://127\.0\.0\.1:\d+) \(a stand-in, not a model\)\n", said
    )
    assert match
    script = {"rounds": [{"text": "one two", "fault": {"kind": "reset", "after_tokens": 1}}]}
    await exchange(match[1], request(script, path="/_standin/script"))

    broken = await ask(match[1])
    answer = await ask(match[1])
    process.send_signal(number)
    code = await within_limit(process.wait())

    assert (broken.text, broken.is_terminated) == ("one", False)
    assert "stand-in" in answer.text
    assert code == 0


async def test_a_port_that_is_taken_is_one_clear_line(process: asyncio.subprocess.Process) -> None:
    port = (await line(process)).split(":")[-1].split()[0]

    second = await start("--port", port)
    _, said = await within_limit(second.communicate())

    assert second.returncode == 1
    assert said.decode().startswith(f"groq-standin cannot listen on 127.0.0.1:{port}: ")
    assert said.count(b"\n") == 1
