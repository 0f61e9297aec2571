"""Rules and fixtures for every test: no test may reach beyond this machine."""

import gc
import ipaddress
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import structlog

from tests.postgres import PostgresServer, keeping_postgres, postgres_of
from tests.scheduling import SharedFixtures, longest_first, scheduler
from tests.waiting import TIME_SCALE
from tests.warm_start import PARENTS, keeping_warm_parents

POSTGRES_KEEPER = "LEX_TESTS_POSTGRES_KEEPER"
"""The environment variable that tells the workers of a parallel run the address of its keeper."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--pictures", action="store_true", help="save screenshots of the chat page in .github/"
    )


def _is_worker(config: pytest.Config) -> bool:
    """Whether this is a worker process of pytest-xdist."""
    return hasattr(config, "workerinput")


# No time limit per example: it would test the speed of the machine.
hypothesis.settings.register_profile("lex", deadline=None)
hypothesis.settings.load_profile("lex")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.option.timeout = config.option.timeout or float(config.getini("timeout")) * TIME_SCALE
    if _is_worker(config):
        gc.disable()  # until everything is imported and collected, which saves a fifth of that time
    else:
        stack = ExitStack()
        config.add_cleanup(stack.close)
        # Workers start later and inherit it.
        os.environ[POSTGRES_KEEPER] = stack.enter_context(keeping_postgres())
        os.environ[PARENTS] = stack.enter_context(keeping_warm_parents())


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items[:] = longest_first(items)
    for item in items:
        if (mark := item.get_closest_marker("timeout")) and TIME_SCALE != 1:
            scaled = pytest.mark.timeout(mark.args[0] * TIME_SCALE)
            item.add_marker(scaled, append=False)


def pytest_collection_finish() -> None:
    """Exclude imported objects from garbage collection, which saves a tenth of a run's CPU time."""
    gc.enable()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> SharedFixtures | None:
    return scheduler(config, log)


@pytest.fixture(scope="session")
def postgres() -> PostgresServer:
    """A real server that all workers share, started when the first test asks for it."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "alone")
    return postgres_of(os.environ[POSTGRES_KEEPER], worker)


# Without colours and local variables: to print them takes a second.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(
            colors=False, exception_formatter=structlog.dev.plain_traceback
        ),
    ]
)


def _is_local(host: object) -> bool:
    if host in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(str(host)).is_loopback
    except ValueError:
        return False


_reached_out: list[str] = []


def _stay_local(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuse connections and name lookups beyond this machine.

    Audit events report every socket of the process, no matter which library opens it.
    """
    if event == "socket.getaddrinfo" and not _is_local(_text(arguments[0])):
        _refuse(f"looked up {arguments[0]!r}")
    if event == "socket.connect":
        address = arguments[1]
        if isinstance(address, tuple) and not _is_local(address[0]):
            _refuse(f"connected to {address!r}")


def _refuse(what: str) -> None:
    _reached_out.append(what)
    raise ConnectionRefusedError(f"A test {what}.")


def _text(host: object) -> object:
    return host.decode() if isinstance(host, bytes) else host


sys.addaudithook(_stay_local)


@pytest.fixture(autouse=True)
def stays_on_this_machine() -> Iterator[None]:
    """Fail the test if it reached out, even if the code under test survived the refusal."""
    _reached_out.clear()
    yield
    assert _reached_out == []


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run if a test was skipped: every test must be able to run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database, once for each kind that workers can share."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/lex.db"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    with server.database() as url:
        yield url
