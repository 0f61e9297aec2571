"""Starts processes of the service in milliseconds, as forks of one that has imported everything.

The imports take two seconds of CPU, most of the cost of a test that needs a process. So
`tests/warm_parent.py` imports modules once and forks for each request. A fork has its own
environment, standard streams and `python -m` command line. Tests of the start itself do not use it.

All workers of a test run share two parents. One has imported the service. The other has imported
only the libraries of the service, without the Prometheus client and without our own modules. It is
for gunicorn, whose arbiter chooses the kind of metrics before its workers import the service.
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent

PARENTS = "LEX_TESTS_WARM_PARENTS"
"""The environment variable that tells all processes of a test run the folder of its parents."""

SERVICE, LIBRARIES = "service", "libraries"

PARENT_OF = {
    "uvicorn": SERVICE,
    "backend.server": SERVICE,
    "backend.storage.sql.migrate": SERVICE,
    "gunicorn": LIBRARIES,
}


@contextmanager
def keeping_warm_parents() -> Iterator[str]:
    """Yield the folder of the parents. Each of them imports its modules at its first request."""
    with tempfile.TemporaryDirectory(prefix="lex-warm-") as folder, ExitStack() as stack:
        parents = [
            stack.enter_context(_parent(f"{folder}/{kind}", kind)) for kind in (SERVICE, LIBRARIES)
        ]
        for parent in parents:
            assert parent.stdout is not None
            assert parent.stdout.readline() == b"ready\n", (
                "a parent of warm processes did not start"
            )
        yield folder


def _parent(address: str, kind: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "tests.warm_parent", address, kind],
        cwd=ROOT,
        stdin=subprocess.PIPE,  # it ends when this is closed, at the latest with this process
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C in the terminal must not reach it
    )


class WarmProcess:
    """The part of `asyncio.subprocess.Process` that tests use."""

    def __init__(self, pid: int, ended: asyncio.Task[int]) -> None:
        self.pid = pid
        self._ended = ended

    @property
    def returncode(self) -> int | None:
        return self._ended.result() if self._ended.done() else None

    def send_signal(self, number: int) -> None:
        if not self._ended.done():
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        return await asyncio.shield(self._ended)


async def start_warm(
    arguments: Sequence[str], variables: Mapping[str, str], streams: Sequence[int]
) -> WarmProcess:
    """Run `python` with these arguments and this whole environment in the project's root.

    `streams` are the descriptors of its standard input, output and error.
    """
    request = json.dumps({"arguments": arguments, "variables": dict(variables)}).encode()
    line = socket.socket(socket.AF_UNIX)
    line.connect(f"{os.environ[PARENTS]}/{PARENT_OF[arguments[1]]}")
    length = len(request).to_bytes(4, "big")
    socket.send_fds(line, [length], streams)
    line.sendall(request)
    answers, writer = await asyncio.open_unix_connection(sock=line)
    pid = int(await answers.readline())

    async def ended() -> int:
        try:
            return int(await answers.readline())
        finally:
            writer.close()

    return WarmProcess(pid, asyncio.create_task(ended()))


def can_be_warm(arguments: Sequence[str]) -> bool:
    flag, module, *_ = arguments
    return flag == "-m" and module in PARENT_OF
