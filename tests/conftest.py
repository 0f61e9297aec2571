"""What holds for every test: none of them reaches beyond this machine."""

import ipaddress
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from tests.postgres import PostgresServer, running_postgres


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--pictures", action="store_true", help="keep the pictures of the chat page in .github/"
    )


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real server, started when the first test asks for it."""
    with running_postgres() as server:
        yield server


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
