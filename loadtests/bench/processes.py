"""The processes of a benchmark: the service, the stand-in for Groq, and what the kernel says of
either.
"""

import os
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

_TICKS = os.sysconf("SC_CLK_TCK")
_START_SECONDS = 30.0

_UNLIMITED = {
    "RATE_LIMIT_SESSION": "none",
    "RATE_LIMIT_CLIENT": "none",
    "MAX_STREAMS_PER_CLIENT": "100000",
    "SUMMARY_IDLE_SECONDS": "0",
}


@dataclass(frozen=True)
class Server:
    url: str
    pid: int
    log: Path

    @property
    def cpu_seconds(self) -> float:
        """User and system time of all its threads since its start, in steps of a tick."""
        stat = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / _TICKS


@contextmanager
def standin() -> Iterator[str]:
    """The address of a stand-in for Groq."""
    port = _free_port()
    command = ("infrastructure.groq_standin", "--port", str(port))
    with _running(command, os.environ, Path(os.devnull)):
        yield _until_it_answers(f"http://127.0.0.1:{port}", "/_standin/stats")


@contextmanager
def lex(upstream: str, folder: Path, **variables: str) -> Iterator[Server]:
    """One worker, as in a pod, with a store of its own. `variables` are its settings."""
    port = _free_port()
    folder.mkdir()
    log = folder / "log"
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("OTEL_")}
    environment = {
        **inherited,
        **_UNLIMITED,
        "GROQ_API_KEY": "none",
        "GROQ_BASE_URL": upstream,
        "DATABASE_URL": f"sqlite:///{folder}/lex.db",
        **variables,
    }
    with _running(("backend.server", "--port", str(port)), environment, log) as process:
        url = _until_it_answers(f"http://127.0.0.1:{port}", "/readyz")
        yield Server(url, process.pid, log)


@contextmanager
def _running(
    command: tuple[str, ...], environment: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as written:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], env=environment, stdout=written, stderr=written
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


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
