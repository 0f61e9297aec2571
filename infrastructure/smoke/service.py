"""A temporary service for the questions, on loopback and with a temporary database."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
from dotenv import dotenv_values

from infrastructure.ports import free_port

ROOT = Path(__file__).parents[2]

START_SECONDS = 120.0
"""Enough for a slow machine. A service that fails ends sooner."""

OF_OTHERS = (
    *("REDIS_URL", "METRICS_PORT", "ALLOWED_HOSTS", "API_KEYS_FILE", "PORT", "HOST"),
    *("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
)
"""Settings that would make this service share something with a configured one."""


@contextmanager
def service(given: Mapping[str, str], **settings: str) -> Iterator[httpx.Client]:
    """Start the service and yield a client when it answers.

    Raises:
        SystemExit: with the last line of its log, if the service does not start.
    """
    with tempfile.TemporaryDirectory(prefix="lex-smoke-") as folder:
        port = free_port()
        variables = _variables(given, Path(folder), **settings)
        command = [sys.executable, "-m", "backend.server", "--host", "127.0.0.1"]
        log = Path(folder) / "log"
        with (
            log.open("wb") as stderr,
            # The folder has no `.env`, so only the environment counts.
            subprocess.Popen(
                [*command, "--port", str(port)], cwd=folder, env=variables, stderr=stderr
            ) as running,
            httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
        ):
            try:
                _await(client, running, log)
                yield client
            finally:
                running.terminate()


def given_variables() -> dict[str, str]:
    """The environment, then the `.env` files, as the service reads them."""
    files = [dotenv_values(ROOT / name) for name in ("backend/.env", ".env")]
    found = {name: value for file in files for name, value in file.items() if value}
    return {**found, **{name: value for name, value in os.environ.items() if value}}


def _variables(given: Mapping[str, str], folder: Path, **settings: str) -> dict[str, str]:
    kept = {name: value for name, value in given.items() if name.upper() not in OF_OTHERS}
    return {
        **kept,
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": f"sqlite:///{folder}/lex.db",
        "MIGRATE_ON_START": "true",
        "AUTH": "none",
        "CLIENT_PROFILE": "standard",
        "WEATHER_PROVIDER": "sample",
        "RATE_LIMIT_SESSION": "none",
        "RATE_LIMIT_CLIENT": "none",
        "SUMMARY_IDLE_SECONDS": "0",
        "DRAIN_ACCEPT_SECONDS": "0",
        "LOG_LEVEL": "WARNING",
        "LOG_FORMAT": "text",
        **settings,
    }


def _await(client: httpx.Client, running: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while running.poll() is None and time.monotonic() < until:
        try:
            client.get("/readyz")
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    *_, last = ["lex: the service did not start.", *log.read_text().splitlines()]
    raise SystemExit(last)
