"""The servers of a benchmark: the stand-in for Groq, Lex, the yardsticks, and the stores."""

import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from infrastructure.ports import free_port
from loadtests.bench.processes import Server, python, running, serving, until_it_listens
from tests.postgres import keeping_postgres, postgres_of

_UNLIMITED = {
    "RATE_LIMIT_SESSION": "none",
    "RATE_LIMIT_CLIENT": "none",
    "RATE_LIMIT_SESSIONS": "none",
    "MAX_STREAMS_PER_CLIENT": "100000",
    "MAX_READERS_PER_CLIENT": "100000",
    "MAX_SOCKETS_PER_CLIENT": "100000",
    "SUMMARY_IDLE_SECONDS": "0",
}


@contextmanager
def standin() -> Iterator[Server]:
    """A stand-in for Groq."""
    port = free_port()
    command = python("infrastructure.groq_standin", "--port", str(port))
    with serving(command, {}, Path(os.devnull), port, path="/_standin/stats") as server:
        yield server


@contextmanager
def lex(
    upstream: str, folder: Path, *, variables: Mapping[str, str], under: Sequence[str] = ()
) -> Iterator[Server]:
    """Start one worker with a new store. `variables` are its settings.

    `under` is a module that runs the server, with its arguments.
    """
    port = free_port()
    folder.mkdir()
    environment = {
        **_UNLIMITED,
        "GROQ_API_KEY": "none",
        "GROQ_BASE_URL": upstream,
        "DATABASE_URL": f"sqlite:///{folder}/lex.db",
        "PORT": str(port),
        **variables,
    }
    command = python(*under, "backend.server")
    with serving(command, environment, folder / "log", port) as server:
        yield server


@contextmanager
def obvious(
    upstream: str, folder: Path, *, variables: Mapping[str, str] = {}, under: Sequence[str] = ()
) -> Iterator[Server]:
    port = free_port()
    folder.mkdir()
    command = python(
        *under,
        *("uvicorn", "loadtests.bench.obvious:app", "--port", str(port)),
        *("--log-level", "warning"),
    )
    environment = {"GROQ_API_KEY": "none", "GROQ_BASE_URL": upstream, **variables}
    with serving(command, environment, folder / "log", port) as server:
        yield server


@contextmanager
def nginx(upstream: str, folder: Path) -> Iterator[Server]:
    """Start a proxy with one worker that forwards every byte at once."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    if program is None:
        sys.exit("nginx is missing: make system-deps")
    port = free_port()
    folder.mkdir()
    configuration = folder / "nginx.conf"
    configuration.write_text(_nginx_configuration(upstream, folder, port))
    command = (program, "-e", f"{folder}/log", "-c", str(configuration))
    with serving(command, {}, folder / "log", port, path="/_standin/stats") as server:
        yield server


def _nginx_configuration(upstream: str, folder: Path, port: int) -> str:
    scratch = " ".join(
        f"{kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""
        daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/log;
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
        }}
        """


@contextmanager
def collector(folder: Path) -> Iterator[Server]:
    """Start a span collector. `GET /` returns the number of spans."""
    port = free_port()
    folder.mkdir()
    command = python("loadtests.bench.collector", "--port", str(port))
    with serving(command, {}, folder / "log", port, path="/") as server:
        yield server


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """Start a Redis without persistence, and yield its URL."""
    program = shutil.which("redis-server")
    if program is None:
        sys.exit("redis-server is missing: make system-deps")
    port = free_port()
    folder.mkdir()
    command = (program, "--port", str(port), "--save", "", "--dir", str(folder))
    with running(command, os.environ, folder / "log"):
        until_it_listens(port)
        yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def postgres() -> Iterator[str]:
    """Yield the URL of the Postgres of the tests. It does not wait for the disk, whose speed says
    nothing about Lex.
    """
    with keeping_postgres() as keeper, postgres_of(keeper, "bench").database() as url:
        yield url
