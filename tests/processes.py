"""Starts the service in separate processes, as an operator does."""

import asyncio
import os
import ssl
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

import httpx

from infrastructure.ports import free_port
from tests.waiting import waiting, within_limit
from tests.warm_start import can_be_warm, start_warm

ROOT = Path(__file__).parent.parent

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For HTTP clients. To load the system's certificates takes 20 ms, and HTTP needs none."""


def environment(**variables: str) -> dict[str, str]:
    """This environment with a test key, high limits, no way to other machines, and `variables`."""
    nowhere = {"HTTPS_PROXY": "http://127.0.0.1:9", "GROQ_API_KEY": "test", "LOG_FORMAT": "json"}
    unlimited = {
        "RATE_LIMIT_SESSION": "1000000/day",
        "RATE_LIMIT_CLIENT": "1000000/day",
        "RATE_LIMIT_SESSIONS": "1000000/day",
        "MAX_STREAMS_PER_CLIENT": "100000",
        "MAX_READERS_PER_CLIENT": "100000",
        "MAX_SOCKETS_PER_CLIENT": "100000",
    }
    return {**os.environ, **nowhere, **unlimited, **variables}


class Process(Protocol):
    """A running program, as far as tests use it."""

    pid: int

    @property
    def returncode(self) -> int | None: ...
    def send_signal(self, number: int, /) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...
    async def wait(self) -> int: ...


@asynccontextmanager
async def process(
    *arguments: str,
    variables: Mapping[str, str],
    stdin: IO[bytes] | None = None,
    stdout: IO[bytes] | None = None,
    stderr: IO[bytes] | None = None,
) -> AsyncIterator[Process]:
    """Run a Python program. At the end of the block it is terminated, and killed if necessary."""
    streams = [
        stream.fileno() if stream else number
        for number, stream in enumerate((stdin, stdout, stderr))
    ]
    running = await _started(arguments, environment(**variables), streams)
    try:
        yield running
    finally:
        if running.returncode is None:
            running.terminate()
        try:
            await within_limit(running.wait())
        except TimeoutError:
            running.kill()
            await running.wait()
            raise


async def _started(
    arguments: Sequence[str], variables: Mapping[str, str], streams: Sequence[int]
) -> Process:
    if can_be_warm(arguments):
        return await start_warm(arguments, variables, streams)
    stdin, stdout, stderr = streams
    return await asyncio.create_subprocess_exec(
        *(sys.executable, *arguments),
        cwd=ROOT,
        env=variables,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
    )


@dataclass(frozen=True)
class Ended:
    """The result of a program that has ended."""

    code: int
    stdout: str
    stderr: str


async def ended(*arguments: str, folder: Path, **variables: str) -> Ended:
    """Run a program that must end; its output is collected in files of the folder."""
    stdout, stderr = folder / "stdout", folder / "stderr"
    with stdout.open("wb") as out, stderr.open("wb") as err:
        async with process(*arguments, variables=variables, stdout=out, stderr=err) as running:
            code = await within_limit(running.wait())
    return Ended(code, stdout.read_text(), stderr.read_text())


@asynccontextmanager
async def lex_process(**variables: str) -> AsyncIterator[httpx.AsyncClient]:
    """Start one worker under plain uvicorn; yields a client once it is ready."""
    async with logging_lex_process(variables, None) as client:
        yield client


@asynccontextmanager
async def logging_lex_process(
    variables: Mapping[str, str], stderr: IO[bytes] | None
) -> AsyncIterator[httpx.AsyncClient]:
    """Like `lex_process`, with a file for its log."""
    port = free_port()
    # Both the client and uvicorn keep idle connections for five seconds by default. Sometimes the
    # client would reuse one just as uvicorn closes it, so uvicorn keeps them longer.
    kept = ("--timeout-keep-alive", "75")
    command = ("-m", "uvicorn", "backend.main:app", "--port", str(port), *kept)
    async with (
        process(*command, variables=variables, stderr=stderr) as running,
        httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}",
            timeout=60,
            limits=httpx.Limits(max_connections=None),
            verify=NO_TLS,
        ) as client,
    ):
        await ready(client, running)
        _processes[client] = running
        try:
            yield client
        finally:
            del _processes[client]


_processes: dict[httpx.AsyncClient, Process] = {}


def client_process(client: httpx.AsyncClient) -> Process:
    """The worker process behind a client of `lex_process`."""
    return _processes[client]


async def ready(client: httpx.AsyncClient, running: Process) -> None:
    async with waiting():
        while True:
            assert running.returncode is None, "the service did not start"
            try:
                if (await client.get("/readyz")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)
