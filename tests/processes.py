"""The service as processes of its own, as an operator starts it."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

import httpx

ROOT = Path(__file__).parent.parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(**variables: str) -> dict[str, str]:
    """This environment, with nowhere to go but to this machine."""
    nowhere = {"HTTPS_PROXY": "http://127.0.0.1:9", "GROQ_API_KEY": "test", "LOG_FORMAT": "json"}
    unlimited = {
        "RATE_LIMIT_SESSION": "1000000/day",
        "RATE_LIMIT_CLIENT": "1000000/day",
        "MAX_STREAMS_PER_CLIENT": "100000",
    }
    return {**os.environ, **nowhere, **unlimited, **variables}


@asynccontextmanager
async def process(
    *command: str, variables: Mapping[str, str], stderr: IO[bytes] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A Python program that is asked to stop at the end of the block, and then made to."""
    running = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=ROOT, env=environment(**variables), stderr=stderr
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.terminate()
        try:
            await asyncio.wait_for(running.wait(), 20)
        except TimeoutError:
            running.kill()
            await running.wait()
            raise


@asynccontextmanager
async def lex_process(**variables: str) -> AsyncIterator[httpx.AsyncClient]:
    """One worker under plain uvicorn, and a client for it once it is ready."""
    port = free_port()
    command = ("-m", "uvicorn", "backend.main:app", "--port", str(port))
    async with (
        process(*command, variables=variables) as running,
        httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}",
            timeout=60,
            limits=httpx.Limits(max_connections=None),
        ) as client,
    ):
        await ready(client, running)
        _processes[client] = running
        try:
            yield client
        finally:
            del _processes[client]


_processes: dict[httpx.AsyncClient, asyncio.subprocess.Process] = {}


def client_process(client: httpx.AsyncClient) -> asyncio.subprocess.Process:
    """The worker behind a client of `lex_process`, to be stopped in the middle of something."""
    return _processes[client]


async def ready(client: httpx.AsyncClient, running: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(30):
        while True:
            assert running.returncode is None, "the service did not start"
            try:
                if (await client.get("/readyz")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)
