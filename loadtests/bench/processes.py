"""Starts and stops the processes of a benchmark, and reads their CPU and memory from the kernel."""

import os
import resource
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_START_SECONDS = 120.0
_STOP_SECONDS = 60.0


@dataclass(frozen=True)
class Server:
    """A server with all its child processes."""

    url: str
    pid: int
    log: Path

    @property
    def cpu_seconds(self) -> float:
        """User and system time of all threads since the start."""
        return sum(map(_cpu_seconds, self._pids))

    @property
    def memory_bytes(self) -> int:
        """Resident memory, without files that other processes may share."""
        return sum(map(_anonymous_bytes, self._pids))

    @property
    def _pids(self) -> list[int]:
        found, left = [], [self.pid]
        while left:
            found.append(pid := left.pop())
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
            left.extend(map(int, children.split()))
        return found


def _cpu_seconds(pid: int) -> float:
    # The clock that clock_getcpuclockid(3) names: exact, where /proc/<pid>/stat counts
    # ticks of 10 ms, which is as much as a turn takes.
    return time.clock_gettime((~pid << 3) | 2)


def waited_seconds(pid: int) -> float:
    """The time for which the main thread was ready to run and waited for a core."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


def _anonymous_bytes(pid: int) -> int:
    # An exact count of pages; RssAnon in /proc/<pid>/status may be wrong by 256 kB.
    pages = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(pages.partition("Anonymous:")[2].split()[0]) * 1024


@contextmanager
def serving(
    command: tuple[str, ...],
    variables: Mapping[str, str],
    log: Path,
    port: int,
    *,
    path: str = "/readyz",
) -> Iterator[Server]:
    """Start a server and yield it when it answers at `path`. It does not inherit OTEL variables."""
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("OTEL_")}
    with running(command, {**inherited, **variables}, log) as process:
        url = _until_it_answers(f"http://127.0.0.1:{port}", path)
        yield Server(url, process.pid, log)


def python(*module: str) -> tuple[str, ...]:
    return (sys.executable, "-m", *module)


@contextmanager
def running(
    command: tuple[str, ...], environment: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as written:
        process = subprocess.Popen(command, env=environment, stdout=written, stderr=written)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def raise_file_limit() -> None:
    """Raise the limit of file descriptors for this process and its children."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _until_it_answers(url: str, path: str) -> str:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            urllib.request.urlopen(url + path, timeout=5).close()
        except urllib.error.URLError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return url


def until_it_listens(port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    sys.exit(f"No server listens at port {port}.")
