"""Starts processes of the service in milliseconds, as forks of one that has imported everything.

The imports take two seconds of CPU, most of the cost of a test that needs a process. So
`tests/warm_parent.py` imports the service once and forks for each request. A fork has its own
environment, standard error and `python -m` command line. Tests of the start itself do not use it.
Nor does gunicorn, because the kind of metrics is chosen during the import.
"""

import asyncio
import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parent.parent
STDERR = 2


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
    arguments: Sequence[str], variables: Mapping[str, str], stderr: IO[bytes] | None
) -> WarmProcess:
    """Run `python` with these arguments and this whole environment in the project's root."""
    request = json.dumps({"arguments": arguments, "variables": dict(variables)}).encode()
    line = socket.socket(socket.AF_UNIX)
    line.connect(_parent())
    length = len(request).to_bytes(4, "big")
    socket.send_fds(line, [length], [stderr.fileno() if stderr else STDERR])
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
    return tuple(arguments[:2]) in {("-m", "uvicorn"), ("-m", "backend.server")}


@cache
def _parent() -> str:
    """The address of this process's warm parent, which the first call starts."""
    stack = ExitStack()
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="lex-warm-"))
    address = f"{folder}/parent.sock"
    parent = subprocess.Popen(
        [sys.executable, "-m", "tests.warm_parent", address],
        cwd=ROOT,
        stdin=subprocess.PIPE,  # it ends when this is closed, at the latest with this process
        stdout=subprocess.PIPE,
    )
    stack.enter_context(parent)
    atexit.register(stack.close)
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"ready\n", "the parent of warm processes did not start"
    return address
