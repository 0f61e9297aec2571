"""What holds for every test: none of them reaches beyond this machine."""

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

POSTGRES_KEEPER = "LEX_TESTS_POSTGRES_KEEPER"
"""The environment variable by which workers of a parallel run find the keeper of the run."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--pictures", action="store_true", help="keep the pictures of the chat page in .github/"
    )


def _is_worker(config: pytest.Config) -> bool:
    """One of the processes that pytest-xdist starts."""
    return hasattr(config, "workerinput")


# A limit for each example would judge the speed of the machine.
hypothesis.settings.register_profile("lex", deadline=None)
hypothesis.settings.load_profile("lex")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.option.timeout = config.option.timeout or float(config.getini("timeout")) * TIME_SCALE
    if not _is_worker(config):
        stack = ExitStack()
        config.add_cleanup(stack.close)
        # Workers are started later, and inherit it.
        os.environ[POSTGRES_KEEPER] = stack.enter_context(keeping_postgres())


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items[:] = longest_first(items)


def pytest_collection_finish() -> None:
    """Leave all that was imported out of the search for garbage: a tenth of the CPU of a run."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> SharedFixtures | None:
    return scheduler(config, log)


@pytest.fixture(scope="session")
def postgres() -> PostgresServer:
    """A real server, one for all workers, started when the first test of the run asks for it."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "alone")
    return postgres_of(os.environ[POSTGRES_KEEPER], worker)


# Without colours and local variables, which take a second to print.
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
    """Audit events see every socket of the process, whichever library opened it."""
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
    """The code under test may take the refusal for a failure that it survives; we do not."""
    _reached_out.clear()
    yield
    assert _reached_out == []


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Nothing is skipped: what cannot be run here is a failure."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of each kind that workers can share."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/lex.db"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    with server.database() as url:
        yield url
