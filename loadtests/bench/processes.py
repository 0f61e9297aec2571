"""The processes of a benchmark, and what the kernel says of them."""

import os
import shutil
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
_START_SECONDS = 120.0
_STOP_SECONDS = 60.0

_UNLIMITED = {
    "RATE_LIMIT_SESSION": "none",
    "RATE_LIMIT_CLIENT": "none",
    "MAX_STREAMS_PER_CLIENT": "100000",
    "SUMMARY_IDLE_SECONDS": "0",
}


@dataclass(frozen=True)
class Server:
    """A server with all the processes that it has started."""

    url: str
    pid: int
    log: Path

    @property
    def cpu_seconds(self) -> float:
        """User and system time of all its threads since its start, in steps of a tick."""
        return sum(map(_cpu_seconds, self._pids)) / _TICKS

    @property
    def memory_bytes(self) -> int:
        """What is resident of it and of nobody else's files."""
        return sum(map(_anonymous_bytes, self._pids))

    @property
    def _pids(self) -> list[int]:
        found, left = [], [self.pid]
        while left:
            found.append(pid := left.pop())
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
            left.extend(map(int, children.split()))
        return found


def _cpu_seconds(pid: int) -> int:
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(stat[11]) + int(stat[12])


def _anonymous_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) * 1024


@contextmanager
def standin() -> Iterator[Server]:
    """A stand-in for Groq."""
    port = free_port()
    command = _python("infrastructure.groq_standin", "--port", str(port))
    with _running(command, os.environ, Path(os.devnull)) as process:
        url = _until_it_answers(f"http://127.0.0.1:{port}", "/_standin/stats")
        yield Server(url, process.pid, Path(os.devnull))


@contextmanager
def lex(
    upstream: str, folder: Path, *, variables: Mapping[str, str], workers: int = 1
) -> Iterator[Server]:
    """With a store of its own; one worker is as in a pod. `variables` are its settings."""
    port = free_port()
    folder.mkdir()
    environment = {
        **_UNLIMITED,
        "GROQ_API_KEY": "none",
        "GROQ_BASE_URL": upstream,
        "DATABASE_URL": f"sqlite:///{folder}/lex.db",
        "PORT": str(port),
        "WEB_CONCURRENCY": str(workers),
        **variables,
    }
    single = _python("backend.server")
    several = _python("gunicorn", "-c", "deploy/gunicorn.conf.py")
    with serving(single if workers == 1 else several, environment, folder, port) as server:
        yield server


@contextmanager
def obvious(upstream: str, folder: Path) -> Iterator[Server]:
    port = free_port()
    folder.mkdir()
    command = _python(
        *("uvicorn", "loadtests.bench.obvious:app", "--port", str(port)),
        *("--log-level", "warning"),
    )
    environment = {"GROQ_API_KEY": "none", "GROQ_BASE_URL": upstream}
    with serving(command, environment, folder, port) as server:
        yield server


@contextmanager
def nginx(upstream: str, folder: Path) -> Iterator[Server]:
    """A proxy with one worker that passes every byte through as it comes."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    if program is None:
        sys.exit("nginx is missing: make system-deps")
    port = free_port()
    folder.mkdir()
    configuration = folder / "nginx.conf"
    scratch = " ".join(
        f"{kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration.write_text(
        f"""daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/log;
        worker_rlimit_nofile 20000;
        events {{ worker_connections 19000; }}
        http {{
          access_log off; {scratch}
          upstream standin {{ server {upstream.removeprefix("http://")}; keepalive 1000; }}
          server {{
            listen 127.0.0.1:{port} backlog=4096;
            location / {{
              proxy_pass http://standin; proxy_http_version 1.1; proxy_buffering off;
              proxy_set_header Connection ""; proxy_read_timeout 300s;
            }}
          }}
        }}"""
    )
    command = (program, "-e", f"{folder}/log", "-c", str(configuration))
    with serving(command, {}, folder, port, path="/_standin/stats") as server:
        yield server


@contextmanager
def collector(folder: Path) -> Iterator[Server]:
    """Of spans; `GET /` says how many came."""
    port = free_port()
    folder.mkdir()
    command = _python("loadtests.bench.collector", "--port", str(port))
    with serving(command, {}, folder, port, path="/") as server:
        yield server


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """The address of a Redis that keeps nothing on disk."""
    program = shutil.which("redis-server")
    if program is None:
        sys.exit("redis-server is missing: make system-deps")
    port = free_port()
    folder.mkdir()
    command = (program, "--port", str(port), "--save", "", "--dir", str(folder))
    with _running(command, os.environ, folder / "log"):
        _until_it_listens(port)
        yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def serving(
    command: tuple[str, ...],
    variables: Mapping[str, str],
    folder: Path,
    port: int,
    *,
    path: str = "/readyz",
) -> Iterator[Server]:
    log = folder / "log"
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("OTEL_")}
    with _running(command, {**inherited, **variables}, log) as process:
        url = _until_it_answers(f"http://127.0.0.1:{port}", path)
        yield Server(url, process.pid, log)


def _python(*module: str) -> tuple[str, ...]:
    return (sys.executable, "-m", *module)


@contextmanager
def _running(
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


def free_port() -> int:
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


def _until_it_listens(port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    sys.exit(f"Nothing listens at {port}.")
