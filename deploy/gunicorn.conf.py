"""Configuration of gunicorn: `gunicorn -c deploy/gunicorn.conf.py`, from the project's folder.

Each number has its reason beside it. The times must fit each other:

    DRAIN_ACCEPT_SECONDS + DRAIN_SECONDS + endings + flush  <  graceful_timeout
    PRE_STOP_SECONDS + graceful_timeout  <  TERMINATION_GRACE_SECONDS

The second line applies if an orchestrator kills a pod that has not stopped in time, and sets these
two variables. Values that do not fit stop the start with one line.
"""

import math
import os
import shutil
import tempfile
from pathlib import Path
from typing import NoReturn

import structlog
from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker

from backend.network.exposure import REFUSAL, Exposure, exposure_of
from backend.network.listen_address import read_port, try_address
from backend.server.gunicorn import await_successors, count_death, pass_sigterm_on
from backend.server.server import FLUSH_SECONDS, KEEP_ALIVE_SECONDS
from backend.settings import Settings
from backend.telemetry.exporting import CLOSING_SECONDS
from backend.telemetry.logging import configure_logging


def _refuse(why: str) -> NoReturn:
    raise SystemExit(f"lex: {why}")


def _whole(name: str, otherwise: int) -> int:
    text = os.environ.get(name) or str(otherwise)
    if not text.isdecimal() or int(text) == 0:
        _refuse(f"{name} cannot be used: it must be a whole number above zero.")
    return int(text)


# Read here as well, so that a wrong setting stops the arbiter instead of every new worker.
_settings = Settings.read()

# The arbiter also logs one line for each event.
configure_logging(level=_settings.log_level, style=_settings.log_format, secrets=_settings.secrets)
logger_class = "backend.server.gunicorn.PlainLogger"

# After the drain, a worker waits for a running tool, stores the ends of late turns, gives back its
# lease, and sends the last spans. Each of the two transactions fails after 10 s.
_ENDING_SECONDS = _settings.tool_timeout_seconds + 2 * 10 + CLOSING_SECONDS

_leaving_seconds = (
    _settings.drain_accept_seconds + _settings.drain_seconds + _ENDING_SECONDS + FLUSH_SECONDS
)

wsgi_app = "backend.main:app"
worker_class = "backend.server.gunicorn.Worker"

_host = os.environ.get("HOST", "").strip().strip("[]") or "127.0.0.1"
_port = read_port(os.environ.get("PORT") or "8000")
# The arbiter owns the second port like the first, because workers come and go. Any worker can
# report the counts of all.
_ports = [_port, _settings.metrics_port] if _settings.metrics_port else [_port]
bind = [f"[{_host}]:{port}" if ":" in _host else f"{_host}:{port}" for port in _ports]

# One per core; in a cluster one per pod, because Kubernetes scales pods.
workers = _whole("WEB_CONCURRENCY", 1)

# Longer than proxies keep an idle connection (ALB and nginx: 60 s), so that the proxy closes it.
keepalive = KEEP_ALIVE_SECONDS

# The arbiter kills a worker after this time. 3 s are for the end of the interpreter.
graceful_timeout = math.ceil(_leaving_seconds + 3)

# A time-out of the event loop, not of requests: a worker reports every second that its loop runs.
# Twice the heartbeat interval, because proxies may have cut its streams by then.
timeout = 30

# Off: there is no known leak, and every recycled worker means a drain.
max_requests = 0

# A worker touches a file to report that it lives, and several workers count in files. A disk may
# block for seconds, so the files are in memory.
_memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
worker_tmp_dir = _memory

# Off: it would be a socket under HOME, and a second way to control the server.
control_socket_disable = True

# Off: workers write to standard error themselves.
capture_output = False

when_ready = pass_sigterm_on
on_reload = await_successors


def _seconds(name: str) -> float | None:
    text = os.environ.get(name)
    try:
        return float(text) if text else None
    except ValueError:
        _refuse(f"{name} cannot be used: it must be a number of seconds.")


def _check(graceful: float) -> None:
    if graceful <= _leaving_seconds:
        _refuse(
            f"graceful_timeout of {graceful:g} s is too short: DRAIN_ACCEPT_SECONDS, DRAIN_SECONDS "
            f"and the endings after them take up to {_leaving_seconds:g} s."
        )
    pre_stop, grace = _seconds("PRE_STOP_SECONDS") or 0, _seconds("TERMINATION_GRACE_SECONDS")
    if grace is not None and grace <= pre_stop + graceful:
        _refuse(
            f"TERMINATION_GRACE_SECONDS of {grace:g} is too short: PRE_STOP_SECONDS and "
            f"graceful_timeout take up to {pre_stop + graceful:g} s."
        )


def on_starting(arbiter: Arbiter) -> None:
    """Check the configuration, now that the command line and GUNICORN_CMD_ARGS are applied."""
    _check(arbiter.cfg.graceful_timeout)
    if _settings.metrics_port and not _listens_at(arbiter, _settings.metrics_port):
        _refuse(f"METRICS_PORT of {_settings.metrics_port} is not among the addresses in --bind.")
    _refuse_strangers(arbiter)
    _try_addresses(arbiter)
    _count_together(arbiter.cfg.workers)


def _refuse_strangers(arbiter: Arbiter) -> None:
    """Refuse public addresses without authentication.

    Each worker checks inherited sockets itself, because the arbiter knows only their descriptors.
    """
    known = [address for address in arbiter.cfg.address if not isinstance(address, int)]
    is_open = _settings.auth == "none" and not _settings.allow_anonymous
    if is_open and exposure_of(known) is Exposure.PUBLIC:
        _refuse(f"{REFUSAL}.")


def _try_addresses(arbiter: Arbiter) -> None:
    """Report a used port in one line. gunicorn would try for five seconds and log six lines."""
    is_inherited = any(os.environ.get(name) for name in ("GUNICORN_FD", "LISTEN_FDS"))
    if is_inherited or arbiter.cfg.reuse_port:
        return
    for address in arbiter.cfg.address:
        if isinstance(address, tuple):
            host, port = address[:2]
            name = "METRICS_PORT" if port == _settings.metrics_port else "PORT"
            try_address(host, port, name=name)


def _listens_at(arbiter: Arbiter, port: int) -> bool:
    return any(isinstance(address, tuple) and address[1] == port for address in arbiter.cfg.address)


# A worker that imports the Prometheus client with this variable set counts in files. A single
# worker counts in its own memory; only that allows exemplars and process metrics.
_COUNTS = "PROMETHEUS_MULTIPROC_DIR"
_OURS = "lex-metrics-"


def _count_together(workers: int) -> None:
    """Prepare an empty directory for the counts of several workers, without old counts."""
    directory = os.environ.pop(_COUNTS, "")  # the client would use even an empty name
    if directory:
        Path(directory).mkdir(parents=True, exist_ok=True)
        _clear(Path(directory))
    elif workers > 1:
        directory = tempfile.mkdtemp(prefix=_OURS, dir=_memory)
    if directory:
        os.environ[_COUNTS] = directory


def _clear(directory: Path) -> None:
    """Delete old counts, and only those: a database file may have the same ending."""
    for pattern in ("counter_*.db", "gauge_*.db", "histogram_*.db", "folded.json"):
        for file in directory.glob(pattern):
            file.unlink()


def child_exit(_arbiter: Arbiter, worker: Worker) -> None:
    """Count a death, keep the counters of the worker, and remove its gauges."""
    count_death(worker)
    if _COUNTS not in os.environ:
        return
    # Not at the top, because the variable must be set first.
    from backend.telemetry.shared_counts import fold

    try:
        fold(Path(os.environ[_COUNTS]), int(worker.pid))
    except OSError as error:  # the disk is full, but the arbiter must live on
        structlog.get_logger().warning("counts_not_folded", error=str(error))


def on_exit(_arbiter: Arbiter) -> None:
    directory = Path(os.environ.get(_COUNTS, ""))
    if directory.name.startswith(_OURS):
        shutil.rmtree(directory, ignore_errors=True)


_check(graceful_timeout)
