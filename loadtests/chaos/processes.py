"""Starts, signals and stops the processes of a chaos run. They always end with the run."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from loadtests.chaos.found import Levels
from loadtests.chaos.waiting import until

ROOT = Path(__file__).parent.parent.parent
STOP_SECONDS = 60.0


async def started(
    *command: str,
    log: Path,
    variables: Mapping[str, str] | None = None,
    user: str | None = None,
) -> asyncio.subprocess.Process:
    """Start a program that writes to this log, and that is killed if this process is killed."""
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("OTEL_")}
    with log.open("ab") as written:
        return await asyncio.create_subprocess_exec(
            *_ending_with_us(),
            *command,
            cwd=ROOT,
            env={**inherited, **(variables or {})},
            stdout=written,
            stderr=written,
            start_new_session=True,  # Ctrl-C in the terminal reaches only this process
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )


def _ending_with_us() -> tuple[str, ...]:
    """A prefix that kills the program when this process dies, with `setpriv` of util-linux.

    Without it, only an orderly end of this process stops the others. SIGKILL also reaches a frozen
    process, and the children of gunicorn and Postgres end with their parent.
    """
    program = shutil.which("setpriv")
    return (program, "--pdeathsig", "KILL") if program else ()


@asynccontextmanager
async def running(
    *command: str, log: Path, variables: Mapping[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await started(*command, log=log, variables=variables)
    try:
        yield process
    finally:
        await stop(process)


async def stop(
    process: asyncio.subprocess.Process, number: signal.Signals = signal.SIGTERM
) -> None:
    """Signal a process, and kill it and its children if it does not end in time."""
    with suppress(ProcessLookupError):
        process.send_signal(number)
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        for pid in (*children(process.pid), process.pid):
            send(pid, signal.SIGKILL)
        await process.wait()


def python(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", *arguments)


def send(pid: int, number: signal.Signals) -> None:
    """Signal a process that may be gone."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def children(pid: int) -> list[int]:
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def levels(pids: list[int]) -> Levels:
    return Levels(max(map(_descriptors, pids), default=0), max(map(_memory_bytes, pids), default=0))


def _descriptors(pid: int) -> int:
    try:
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        return 0


def _memory_bytes(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return int(status.partition("RssAnon:")[2].split()[0]) * 1024


async def until_it_listens(port: int) -> None:
    async def listens() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    await until(listens)
